//! The thread that moves packets from one device to the other when their time has come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::thread::set_current_timer_slack;
use rustix::time::Timespec;

use super::device::Device;
use super::nat::Nat;
use super::setup;
use super::syscalls::{Scheduling, schedule};
use super::{EmulationError, LinkStats};
use crate::link::emulation::Punctuality;
use crate::link::{MTU, Pipe};

/// Packets read from a device before the other one, and what is due, have their turn.
const BATCH: usize = 64;
/// What may be on its way in one direction: a second at 1 Gbit/s. More is dropped and counted.
const MAX_HELD_BYTES: u64 = 128 << 20;
/// Buffers kept for the next packets.
const MAX_SPARE: usize = 4_096;
/// How often a busy thread makes its counts visible.
const PUBLISH_EVERY: Duration = Duration::from_millis(2);
/// What counts as late: the accuracy that the link promises.
const LATE: Duration = Duration::from_millis(1);
/// The time slice asked for where real-time scheduling is not allowed.
const SLICE: Duration = Duration::from_micros(100);

/// Both directions of a link.
pub(super) struct Pipes {
    pub(super) up: Pipe,
    pub(super) down: Pipe,
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Mover {
    thread: Option<JoinHandle<()>>,
    commands: Option<SyncSender<Command>>,
    wake: Arc<OwnedFd>,
    published: Arc<Mutex<Published>>,
}

#[derive(Debug, Default)]
struct Published {
    stats: LinkStats,
    failure: Option<String>,
}

/// What is asked for, and whom to tell when it is in force.
struct Command(Asked, SyncSender<()>);

enum Asked {
    Replace(Box<Pipes>),
    ForgetMappings,
    BlockUdp(bool),
}

impl Mover {
    /// Starts to move packets between the near and the far device.
    pub(super) fn start(devices: [Device; 2], pipes: Pipes) -> Result<Self, EmulationError> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let wake = eventfd(0, flags).map_err(|error| setup("make an event")(error.into()))?;
        let wake = Arc::new(wake);
        let (commands, inbox) = mpsc::sync_channel(1);
        let published = Arc::new(Mutex::new(Published::default()));
        let state = State::new(devices, pipes, Arc::clone(&wake), inbox, Arc::clone(&published));
        let thread = thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || state.run())
            .map_err(setup("start a thread"))?;
        Ok(Self { thread: Some(thread), commands: Some(commands), wake, published })
    }

    /// Puts other pipes in place; when it returns they are in use.
    pub(super) fn replace(&self, pipes: Pipes) -> Result<(), EmulationError> {
        self.ask(Asked::Replace(Box::new(pipes)))
    }

    /// Has the address translator on the way forget its mappings; when it returns they are forgotten.
    pub(super) fn forget_mappings(&self) -> Result<(), EmulationError> {
        self.ask(Asked::ForgetMappings)
    }

    /// Has a firewall on the way drop what is UDP, or let it through again; when it returns it does.
    pub(super) fn block_udp(&self, block: bool) -> Result<(), EmulationError> {
        self.ask(Asked::BlockUdp(block))
    }

    fn ask(&self, asked: Asked) -> Result<(), EmulationError> {
        let (done, when_done) = mpsc::sync_channel(1);
        let command = Command(asked, done);
        let sent = self.commands.as_ref().is_some_and(|commands| commands.send(command).is_ok());
        self.wake();
        if sent && when_done.recv().is_ok() { Ok(()) } else { Err(self.stopped()) }
    }

    /// Counts as last published.
    pub(super) fn stats(&self) -> LinkStats {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).stats
    }

    fn stopped(&self) -> EmulationError {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = published.failure.clone().unwrap_or_else(|| "its thread ended".to_owned());
        EmulationError::Stopped { reason }
    }

    fn wake(&self) {
        // It fails only when the counter is full, and then the thread is about to wake up.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.commands = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A packet on its way; ordered by when it is due, and among equals by when it came.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Scheduled {
    due: Duration,
    number: u64,
    packet: Vec<u8>,
}

/// One direction: what is read at one device, and when it is to be written at the other.
struct Lane {
    pipe: Pipe,
    on_the_way: BinaryHeap<Reverse<Scheduled>>,
    held_bytes: u64,
    overrun: u64,
    /// Packets that a firewall does not let through.
    blocked: u64,
}

/// What the thread works on.
struct State {
    devices: [Device; 2],
    lanes: [Lane; 2],
    started: Instant,
    spare: Vec<Vec<u8>>,
    count: u64,
    wake: Arc<OwnedFd>,
    inbox: Receiver<Command>,
    published: Arc<Mutex<Published>>,
    published_at: Duration,
    punctuality: Punctuality,
    nat: Nat,
    /// Packets of UDP are dropped.
    no_udp: bool,
}

impl State {
    fn new(
        devices: [Device; 2],
        pipes: Pipes,
        wake: Arc<OwnedFd>,
        inbox: Receiver<Command>,
        published: Arc<Mutex<Published>>,
    ) -> Self {
        let lanes = [Lane::new(pipes.up), Lane::new(pipes.down)];
        let (started, published_at) = (Instant::now(), Duration::ZERO);
        let (spare, count) = (Vec::new(), 0);
        let punctuality = Punctuality::default();
        Self {
            devices,
            lanes,
            started,
            spare,
            count,
            wake,
            inbox,
            published,
            published_at,
            punctuality,
            nat: Nat::default(),
            no_udp: false,
        }
    }

    fn run(mut self) {
        // The default slack of 50 us would be added to every delay.
        let _ = set_current_timer_slack(NonZeroU64::new(1));
        // Ahead of the ends, which share the processors with it: a link does not become slower
        // because its ends are busy. Neither being allowed only makes it less punctual.
        let scheduled =
            schedule(Scheduling::RealTime).or_else(|_| schedule(Scheduling::Slices(SLICE)));
        if let Err(error) = scheduled {
            tracing::debug!(%error, "the link's thread is scheduled like any other");
        }
        if let Err(error) = self.work() {
            let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
            published.failure = Some(error.to_string());
        }
    }

    /// Until the other side is dropped.
    fn work(&mut self) -> io::Result<()> {
        loop {
            let mut busy = false;
            for side in 0..2 {
                busy |= self.take_in(side)?;
                self.let_out();
            }
            // A link that never rests must still be heard and stopped.
            let asked = if !busy {
                self.publish();
                self.wait()?
            } else if self.started.elapsed().saturating_sub(self.published_at) >= PUBLISH_EVERY {
                self.publish();
                true
            } else {
                false
            };
            if asked && !self.obey() {
                return Ok(());
            }
        }
    }

    /// Reads a batch at one end. Says whether there may be more.
    fn take_in(&mut self, side: usize) -> io::Result<bool> {
        for _ in 0..BATCH {
            let mut packet = self.spare.pop().unwrap_or_default();
            packet.resize(MTU as usize, 0);
            let Some(length) = self.devices[side].read(&mut packet)? else {
                self.keep(packet);
                return Ok(false);
            };
            packet.truncate(length);
            if self.no_udp && is_udp(&packet) {
                self.lanes[side].blocked += 1;
                self.keep(packet);
                continue;
            }
            if side == 0 {
                self.nat.outward(&mut packet);
            }
            self.count += 1;
            let (now, number) = (self.started.elapsed(), self.count);
            if let Err(packet) = self.lanes[side].take_in(now, number, packet) {
                self.keep(packet);
            }
        }
        Ok(true)
    }

    /// Writes whatever is due at either end.
    fn let_out(&mut self) {
        let mut now = self.started.elapsed();
        for side in 0..2 {
            while let Some((due, mut packet)) = self.lanes[side].next_due(now) {
                self.note_lateness(now.saturating_sub(due));
                let is_let_in = side == 0 || self.nat.inward(&mut packet);
                if is_let_in && !self.devices[1 - side].write(&packet) {
                    self.lanes[side].overrun += 1;
                }
                self.keep(packet);
                now = self.started.elapsed();
            }
        }
    }

    fn note_lateness(&mut self, late: Duration) {
        let seen = &mut self.punctuality;
        seen.released += 1;
        seen.late += u64::from(late > LATE);
        seen.max_late_us =
            seen.max_late_us.max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
    }

    /// Sleeps until something is due, comes in, or is asked for; says whether the latter.
    fn wait(&self) -> io::Result<bool> {
        let due = self.lanes.iter().filter_map(Lane::due).min();
        let timeout = due.map(|due| due.saturating_sub(self.started.elapsed()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut files = [
            PollFd::new(&self.devices[0], PollFlags::IN),
            PollFd::new(&self.devices[1], PollFlags::IN),
            PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN),
        ];
        match poll(&mut files, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(files[2].revents().contains(PollFlags::IN)),
            Err(error) => Err(error.into()),
        }
    }

    /// Does what was asked for, if anything; `false` when it was to stop.
    fn obey(&mut self) -> bool {
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        loop {
            match self.inbox.try_recv() {
                Ok(Command(asked, done)) => {
                    match asked {
                        Asked::Replace(pipes) => self.replace(*pipes),
                        Asked::ForgetMappings => self.nat.forget(),
                        Asked::BlockUdp(block) => self.no_udp = block,
                    }
                    let _ = done.send(());
                }
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn replace(&mut self, pipes: Pipes) {
        self.lanes = [Lane::new(pipes.up), Lane::new(pipes.down)];
        self.punctuality = Punctuality::default();
        self.started = Instant::now();
        self.publish();
    }

    fn keep(&mut self, packet: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(packet);
        }
    }

    fn publish(&mut self) {
        self.published_at = self.started.elapsed();
        let [up, down] = &self.lanes;
        let punctuality = self.punctuality;
        let stats = LinkStats { up: up.stats(), down: down.stats(), punctuality };
        self.published.lock().unwrap_or_else(PoisonError::into_inner).stats = stats;
    }
}

impl Lane {
    fn new(pipe: Pipe) -> Self {
        Self { pipe, on_the_way: BinaryHeap::new(), held_bytes: 0, overrun: 0, blocked: 0 }
    }

    /// Takes a packet into the link, or gives its buffer back.
    fn take_in(&mut self, now: Duration, number: u64, packet: Vec<u8>) -> Result<(), Vec<u8>> {
        let bytes = packet.len() as u64;
        if self.held_bytes + bytes > MAX_HELD_BYTES {
            self.overrun += 1;
            return Err(packet);
        }
        let length = u32::try_from(bytes).unwrap_or(MTU);
        let Ok(due) = self.pipe.offer(now, length) else { return Err(packet) };
        self.held_bytes += bytes;
        self.on_the_way.push(Reverse(Scheduled { due, number, packet }));
        Ok(())
    }

    fn due(&self) -> Option<Duration> {
        self.on_the_way.peek().map(|Reverse(next)| next.due)
    }

    fn next_due(&mut self, now: Duration) -> Option<(Duration, Vec<u8>)> {
        self.due().filter(|&due| due <= now)?;
        let Reverse(next) = self.on_the_way.pop()?;
        self.held_bytes -= next.packet.len() as u64;
        Some((next.due, next.packet))
    }

    fn stats(&self) -> crate::link::DirectionStats {
        let mut stats = self.pipe.stats();
        stats.dropped_overrun += self.overrun;
        stats.dropped_blocked = self.blocked;
        stats
    }
}

/// True for a packet of IPv4 that carries UDP (RFC 791, RFC 768).
fn is_udp(packet: &[u8]) -> bool {
    const UDP: u8 = 17;
    packet.first().is_some_and(|first| first >> 4 == 4) && packet.get(9) == Some(&UDP)
}
