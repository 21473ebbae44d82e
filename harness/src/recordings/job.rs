// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Records the behaviour of kernels in the cache.

use crate::behaviour::{Behaviour, BehaviourStore, Recorder};
use crate::cli::{UserOptions, VmArgs};
use crate::failure::{Code, Failure};
use crate::kernel::{self, ComparedWith, JudgeOptions};
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::output::reports;
use crate::output::rerun::{RerunCommand, RerunVerb};
use crate::selection::Selection;
use crate::{capacity, guest};
use std::sync::Arc;
use std::time::Duration;
use sudbox_images::{Cache, KernelImage, Request};
use sudbox_vmm::machine::Machine;

/// Time without progress after which a boot is a hang; a case has a sixth of this time. Twice the time
/// limit of `run`, because recording takes longer.
const RECORDING_TIMEOUT: Duration = Duration::from_secs(120);

/// The cases to record and the machine that runs them.
pub(crate) struct RecordJob<'a> {
    pub(crate) machine: &'a dyn Machine,
    pub(crate) cache: &'a Cache,
    pub(crate) vm: &'a VmArgs,
    pub(crate) user_options: &'a UserOptions,
    pub(crate) selection: &'a Selection,
}

impl RecordJob<'_> {
    /// The behaviour of a kernel in the selected cases. Cases that are not in the cache are recorded
    /// in two boots. `name` names the kernel on stderr and in the folder.
    ///
    /// # Errors
    /// If the kernel cannot be judged, or this machine is at fault.
    pub(crate) fn behaviour(
        &self,
        name: &str,
        image: &KernelImage,
        request: &Request,
        folder: &RunFolder,
        progress: &mut Progress,
    ) -> anyhow::Result<Behaviour> {
        let init = guest::guest_init(request.arch, progress)?;
        let id = kernel::image_id(&image.kernel);
        let machine = self.machine.describe(kernel::device_discovery(image));
        let machine = machine.split(": ").next().unwrap_or_default();
        let options = self.vm.identity();
        let identity: [&[u8]; 4] = [id.as_bytes(), &init, machine.as_bytes(), options.as_bytes()];
        let store = BehaviourStore::open(self.cache, &identity, progress)?;
        let mut behaviour = store.read();
        let mut unrecorded = self.selection.clone();
        unrecorded.cases.retain(|case| !behaviour.cases.contains_key(case.id));
        unrecorded.includes_boot = false;
        if unrecorded.cases.is_empty() {
            return Ok(behaviour);
        }
        let mut boots = Vec::new();
        for boot in 1..=2 {
            let text = format!("{} cases of {name}, boot {boot} of 2", unrecorded.cases.len());
            progress.print("record", &text);
            let folder = folder.create_subfolder(&format!("{}-{boot}", name.replace(' ', "-")))?;
            boots.push(self.record_boot(image, request, &unrecorded, &folder, progress)?);
        }
        let (Some(second), Some(first)) = (boots.pop(), boots.pop()) else { return Ok(behaviour) };
        let new_behaviour = Behaviour::common_to_both(first, second);
        behaviour.release = new_behaviour.release;
        behaviour.features = new_behaviour.features;
        behaviour.floating_state_layout = new_behaviour.floating_state_layout;
        behaviour.cases.extend(new_behaviour.cases);
        store.write(&behaviour)?;
        Ok(behaviour)
    }

    /// Records cases in one boot.
    fn record_boot(
        &self,
        image: &KernelImage,
        request: &Request,
        selection: &Selection,
        folder: &RunFolder,
        progress: &mut Progress,
    ) -> anyhow::Result<Behaviour> {
        let recorder = Arc::new(Recorder::default());
        let options = JudgeOptions {
            vm: self.vm.clone(),
            isolate_cases: false,
            strict: false,
            runs_per_case: 1,
            timeout: RECORDING_TIMEOUT,
            max_parallel_vms: capacity::max_vms(self.vm),
            rerun: RerunCommand::new(RerunVerb::Run, &request.reference, self.user_options),
            trace_marked_operations: false,
            recorder: Some(recorder.clone()),
            compared_with: ComparedWith::Nothing,
        };
        let verdict = kernel::judge_image(
            image,
            request,
            self.machine,
            &options,
            selection,
            folder,
            progress,
        )?;
        reports::write_forms(&verdict, folder)?;
        match kernel::reason_without_results(&verdict) {
            Some(reason) => Err(Failure {
                code: Code::Unjudged,
                message: format!("{}: nothing can be recorded: {reason}", request.reference),
            }
            .into()),
            None => Ok(recorder.take_behaviour()),
        }
    }
}
