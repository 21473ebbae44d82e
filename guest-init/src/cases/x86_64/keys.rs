// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Protection keys.

use crate::case::Check;
use crate::cases::selector::expect_segv;
use crate::support::*;
use crate::sys;

pub(crate) fn protection_key_kills() -> Check {
    const DISABLE_ACCESS: u64 = 1;
    let page = pages(1)?;
    // SAFETY: the page belongs to this case.
    unsafe {
        let key =
            sys::call(libc::SYS_pkey_alloc, &[0, DISABLE_ACCESS]).map_err(broken("pkey_alloc"))?;
        sys::call(libc::SYS_pkey_mprotect, &[page as u64, PAGE as u64, 3, key])
            .map_err(broken("pkey_mprotect"))?;
    }
    expect_segv(page as u64, || {})
}
