// SPDX-License-Identifier: Apache-2.0 OR MIT
// A mode with a bit above the low half must be refused with EINVAL.
#include "common.h"

int main(void)
{
	start();
	if (sud(1UL << 32 | SUD_ON, 0, 0, &sel) != -EINVAL)
		return 1;
	return blocked(ODD_NR) != -ENOSYS || hits;
}
