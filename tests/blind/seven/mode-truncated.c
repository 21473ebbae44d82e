// SPDX-License-Identifier: Apache-2.0 OR MIT
// A mode whose upper half is not zero is no mode.
#include "common.h"

int main(void)
{
	start();
	if (set_sud(0x100000000, 0, 0, NULL) != -1 || errno != EINVAL)
		return 1;
	if (set_sud(0x100000002, (unsigned long)sud_lo, 16, NULL) != -1 || errno != EINVAL)
		return 1;
	return 0;
}
