// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox kernels`: lists pinned, cached and available kernels, and prunes the cache.

use crate::cli::{KernelsArgs, KernelsVerb, PruneArgs};
use crate::output::progress::Progress;
use crate::output::{print, screen};
use std::time::Duration;
use sudbox_images::kernels::{self, Cached};
use sudbox_images::{Arch, Cache, Ctx};
use sudbox_report::Report as _;
use sudbox_report::kernels::{KernelEntry, KernelList};
use sudbox_report::pruned::PrunedKernels;

/// Prints the list of kernels, or prunes the cache. Returns the exit code.
pub(crate) fn kernels(args: &KernelsArgs) -> anyhow::Result<u8> {
    let cache = Cache::open()?;
    match &args.verb {
        Some(KernelsVerb::Prune(prune_args)) => prune(&cache, prune_args, args.format.name),
        None => {
            print(&(args.format.render)(&list(&cache)?, screen()))?;
            Ok(0)
        }
    }
}

fn list(cache: &Cache) -> anyhow::Result<KernelList> {
    let arch = Arch::default();
    let mut progress = Progress::new();
    let offers = kernels::on_offer(&mut Ctx::new(cache, &mut progress), arch)?;
    let entry_outside_cache = |name: String, state: &str, origin: String| {
        let state = state.to_owned();
        KernelEntry { name, state, bytes: None, unused_seconds: None, origin }
    };
    let mut entries = Vec::new();
    for pinned in kernels::pinned(arch)? {
        let state = if pinned.default { "pinned, default" } else { "pinned" };
        entries.push(entry_outside_cache(pinned.name, state, String::new()));
    }
    entries.extend(kernels::cached(cache).into_iter().map(kernel_entry));
    let offers = offers.into_iter();
    entries.extend(
        offers.map(|offer| entry_outside_cache(offer.reference, "on offer", offer.package)),
    );
    Ok(KernelList::from_entries(entries))
}

fn prune(cache: &Cache, args: &PruneArgs, form_name: &str) -> anyhow::Result<u8> {
    let form = PrunedKernels::form(form_name).expect("`prune` has the forms of the list");
    let min_age = Duration::from_secs(u64::from(args.days) * 24 * 3600);
    let old_entries = kernels::prune(cache, min_age, args.yes);
    let pruned = PrunedKernels::from_entries(
        args.days,
        args.yes,
        old_entries.into_iter().map(kernel_entry).collect(),
    );
    print(&(form.render)(&pruned, screen()))?;
    Ok(0)
}

fn kernel_entry(cached: Cached) -> KernelEntry {
    KernelEntry {
        name: cached.name,
        state: format!("cached {}", cached.kind),
        bytes: Some(cached.bytes),
        unused_seconds: Some(cached.used.elapsed().unwrap_or_default().as_secs()),
        origin: cached.source.unwrap_or_default(),
    }
}
