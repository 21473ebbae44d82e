// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::poll;
use crate::vsock::packet::{HOST_CID, Header, TYPE_STREAM, op};
use std::io::Write;
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

#[test]
fn packets_in_a_stopped_queue_are_received() {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
    let request = Header {
        src_cid: GUEST_CID,
        dst_cid: HOST_CID,
        src_port: 1,
        dst_port: 7,
        kind: TYPE_STREAM,
        op: op::REQUEST,
        ..Header::default()
    };
    memory.write_slice(&request.encode(), GuestAddress(0x4000)).unwrap();
    // One available descriptor with the packet, in a queue that was stopped before the guest's
    // notification was handled.
    memory.write_obj(0x4000u64, GuestAddress(0x1000)).unwrap();
    memory.write_obj(44u32, GuestAddress(0x1008)).unwrap();
    memory.write_obj(1u16, GuestAddress(0x2002)).unwrap();
    let memory = GuestMemoryAtomic::new(memory);
    let vrings = [0, 1].map(|_| Vring::new(memory.clone(), 16).unwrap());
    vrings[TX].set_queue_info(0x1000, 0x2000, 0x3000).unwrap();
    vrings[TX].set_queue_ready(false);
    let wake_evt = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let queues = Vrings { vrings: vrings.clone(), memory, wake_evt };

    let mut device = Device::new();
    device.listen(7);
    assert!(!queues.receive(&mut device));
    assert!(device.accept(7).is_none(), "the queue is stopped");
    queues.receive_last(&mut device);
    assert!(device.accept(7).is_some());
    assert!(!vrings[TX].get_ref().get_queue().ready());
    assert_eq!(vrings[TX].queue_next_avail(), 1);
}

#[test]
fn the_configuration_space_holds_the_guests_cid() {
    let shared_device = Arc::new(SharedDevice::new(Device::new()).unwrap());
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let backend = VhostDevice::new(shared_device, memory).unwrap();
    assert_eq!(backend.get_config(0, 8), GUEST_CID.to_le_bytes());
    assert_eq!(backend.get_config(4, 100), [0; 4]);
    assert!(backend.get_config(9, u32::MAX).is_empty());
}

/// Returns the flags of all descriptors of this process whose file has this name.
fn fd_flags(name: &str) -> Vec<FdFlags> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let matching_entries = entries.filter(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().contains(name))
    });
    matching_entries
        .map(|entry| {
            let fd: RawFd = entry.file_name().to_str().unwrap().parse().unwrap();
            // SAFETY: the descriptor is that of a file which this test holds open.
            rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).unwrap()
        })
        .collect()
}

#[test]
fn descriptors_of_guest_memory_are_closed_by_exec() {
    let (vhost_server, qemu_end) =
        VhostServer::start(Arc::new(SharedDevice::new(Device::new()).unwrap())).unwrap();
    let file = crate::memfd::create(c"test-guest-memory", crate::memfd::Contents::Data).unwrap();
    file.set_len(0x10000).unwrap();
    // VHOST_USER_SET_OWNER (3), then VHOST_USER_SET_MEM_TABLE (5) with one region: its number,
    // padding, guest address, size, address in the front end, offset in the file.
    let header = |request: u32, size: u32| [request, 1, size].map(u32::to_ne_bytes).concat();
    (&qemu_end).write_all(&header(3, 0)).unwrap();
    let table = [1u64, 0, 0x10000, 0x7000_0000, 0].map(u64::to_ne_bytes).concat();
    let message = [header(5, 40), table].concat();
    qemu_end.send_with_fd(&message[..], file.as_raw_fd()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let flags = loop {
        let flags = fd_flags("test-guest-memory");
        let all_are_cloexec = flags.iter().all(|flags| flags.contains(FdFlags::CLOEXEC));
        if (flags.len() == 2 && all_are_cloexec) || Instant::now() > deadline {
            break flags;
        }
        thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(flags, [FdFlags::CLOEXEC; 2], "the test's descriptor and the received one");
    assert_eq!(vhost_server.failure(), None);
}

#[test]
fn an_invalid_request_is_a_failure_and_a_closed_connection_is_not() {
    let shared_device = || Arc::new(SharedDevice::new(Device::new()).unwrap());
    let (vhost_server, qemu_end) = VhostServer::start(shared_device()).unwrap();
    // An unknown request.
    (&qemu_end).write_all(&[0xff; 12]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    assert!(poll::wait_readable(&[vhost_server.descriptor()], deadline).unwrap()[0]);
    assert!(vhost_server.failure().is_some());

    let (mut vhost_server, qemu_end) = VhostServer::start(shared_device()).unwrap();
    drop(qemu_end);
    vhost_server.watcher.take().unwrap().join().unwrap();
    assert_eq!(vhost_server.failure(), None);
}

/// Queues whose handling panics, as a bug of the device would.
struct PanickingQueues;

impl GuestQueues for PanickingQueues {
    fn process(&self, _: usize, _: &mut Device, _: QueueStep) -> bool {
        panic!("a planted panic");
    }

    fn wake(&self) {}
}

#[test]
fn a_panic_of_the_worker_is_a_failure() {
    let shared_device = Arc::new(SharedDevice::new(Device::new()).unwrap());
    shared_device.attach(|| Box::new(PanickingQueues));
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let backend = Arc::new(VhostDevice::new(shared_device, memory.clone()).unwrap());
    let _daemon = Daemon::start(backend.clone(), memory).unwrap();
    backend.wake_evt.write(1).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let event = borrow_eventfd(&backend.failure.event);
    assert!(poll::wait_readable(&[event], deadline).unwrap()[0], "nobody is told");
    let message = backend.failure.message.get().expect("a message");
    assert!(message.contains("worker panicked"), "{message}");
}
