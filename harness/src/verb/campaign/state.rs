// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The state of a campaign in the cache. sudbox saves the state after every batch, so that a killed campaign
//! goes on with all that it counted and found.

use super::corpus::Corpus;
use crate::cli::Shard;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use sudbox_images::{Cache, EntryLock, LockMode, Monitor};
use sudbox_report::campaign::Campaign;
use sudbox_report::matrix;

/// The folder in the cache.
const CACHE_FOLDER: &str = "campaigns";

/// Number of walks in a batch of walks.
const WALKS_PER_BATCH: u64 = 200;

/// The last of this many batches of a shard is a product of random points.
const BATCHES_PER_PRODUCT: u64 = 4;

/// The cases of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// The walks of these seeds.
    Walks(Range<u64>),
    /// The product of ten thousand random points of this seed.
    Points(u64),
}

/// A campaign, finished or not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct CampaignState {
    /// The counts and finds of all finished batches.
    pub(super) campaign: Campaign,
    /// The walks that reached new code, on a kernel that records it.
    #[serde(default)]
    pub(super) corpus: Corpus,
    /// The number of the next batch that no worker has begun.
    next_batch: u64,
    /// The batches that are begun and not finished.
    begun: Vec<u64>,
    /// The begun batches of a run that ended before they did.
    left_over: Vec<u64>,
}

impl CampaignState {
    /// A new campaign.
    pub(super) fn new(campaign: Campaign) -> CampaignState {
        CampaignState { campaign, ..CampaignState::default() }
    }

    /// Takes the batches that an earlier run began and did not finish, and the walks that it kept.
    pub(super) fn take_up(&mut self) {
        self.corpus.begin_replay();
        self.left_over.append(&mut self.begun);
    }

    /// Begins the next batch of the shard. Returns the number of the batch.
    pub(super) fn begin_batch(&mut self, shard: Option<Shard>) -> u64 {
        let is_own = |batch: u64| {
            let index = usize::try_from(batch).unwrap_or(0);
            shard.is_none_or(|shard| matrix::shard_of(index, shard.count) == shard.number)
        };
        let batch = self.left_over.pop().unwrap_or_else(|| {
            let batch = (self.next_batch..).find(|batch| is_own(*batch)).unwrap_or(self.next_batch);
            self.next_batch = batch + 1;
            batch
        });
        self.begun.push(batch);
        batch
    }

    /// The cases of a batch of the shard.
    pub(super) fn batch(&self, number: u64, shard: Option<Shard>) -> Batch {
        let shards = shard.map_or(1, |shard| shard.count as u64);
        let first = self.campaign.seed.wrapping_add(number.wrapping_mul(WALKS_PER_BATCH));
        if number / shards % BATCHES_PER_PRODUCT == BATCHES_PER_PRODUCT - 1 {
            Batch::Points(first)
        } else {
            Batch::Walks(first..first.saturating_add(WALKS_PER_BATCH))
        }
    }

    /// Marks a batch as finished.
    pub(super) fn finish_batch(&mut self, batch: u64) {
        self.begun.retain(|other| *other != batch);
    }
}

/// The locked file of one campaign in the cache.
pub(super) struct CampaignStore<'a> {
    cache: &'a Cache,
    key: String,
    _lock: EntryLock,
}

impl CampaignStore<'_> {
    /// Locks the campaign with this identity. Waits for another run of it.
    ///
    /// # Errors
    /// If the entry cannot be locked.
    pub(super) fn open<'a>(
        cache: &'a Cache,
        identity: &[&[u8]],
        monitor: &mut dyn Monitor,
    ) -> anyhow::Result<CampaignStore<'a>> {
        let key = sudbox_images::digest(identity);
        let lock = cache.lock(CACHE_FOLDER, &key, LockMode::Exclusive, monitor)?;
        Ok(CampaignStore { cache, key, _lock: lock })
    }

    /// The saved state, if there is one.
    ///
    /// # Errors
    /// If it cannot be read, because another version of sudbox wrote it.
    pub(super) fn read(&self) -> anyhow::Result<Option<CampaignState>> {
        let Some(bytes) = self.cache.read_file(CACHE_FOLDER, &self.key) else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .context("the campaign of this kernel was saved by another version of sudbox: --restart forgets it")
    }

    /// Saves the state atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write(&self, state: &CampaignState) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(state)?;
        Ok(self.cache.write_file(CACHE_FOLDER, &self.key, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(number: usize) -> Option<Shard> {
        Some(Shard { number, count: 3 })
    }

    #[test]
    fn shards_have_different_batches_and_together_all() {
        let mut batches = Vec::new();
        for number in 1..=3 {
            let mut state = CampaignState::default();
            batches.extend((0..4).map(|_| state.begin_batch(shard(number))));
        }
        batches.sort_unstable();
        assert_eq!(batches, (0..12).collect::<Vec<u64>>());
    }

    #[test]
    fn a_batch_that_was_not_finished_is_begun_again() {
        let mut state = CampaignState::default();
        assert_eq!([state.begin_batch(None), state.begin_batch(None)], [0, 1]);
        state.finish_batch(0);
        let text = serde_json::to_vec(&state).expect("JSON");
        let mut state: CampaignState = serde_json::from_slice(&text).expect("a state");
        state.take_up();
        assert_eq!([state.begin_batch(None), state.begin_batch(None)], [1, 2]);
    }

    #[test]
    fn batches_have_different_seeds() {
        let campaign = Campaign { seed: 1000, ..Campaign::default() };
        let state = CampaignState::new(campaign);
        assert_eq!(state.batch(0, None), Batch::Walks(1000..1200));
        assert_eq!(state.batch(1, None), Batch::Walks(1200..1400));
        assert_eq!(state.batch(3, None), Batch::Points(1600));
        assert_eq!(state.batch(3, shard(1)), Batch::Walks(1600..1800));
        assert_eq!(state.batch(9, shard(1)), Batch::Points(2800), "the fourth batch of the shard");
    }
}
