//! Reading stored files because a peer has asked about them: by a few threads, beside those that store, and
//! in turn for all who ask.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::work::{Question, Work};
use crate::store::Reading;

/// Threads that read. One keeps up with a disk; a second lets small files pass large ones.
const THREADS: usize = 2;

/// Threads that read files for offers, and what waits for them.
#[derive(Debug, Clone, Default)]
pub(super) struct Hashing(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The jobs of each sender, the one first whose turn it was the longest ago.
    turns: VecDeque<String>,
    jobs: BTreeMap<String, VecDeque<Job>>,
    threads: usize,
    idle: usize,
}

/// An offer, and the files that have to be read before it can be answered.
#[derive(Debug)]
pub(super) struct Job {
    question: Box<Question>,
    unread: VecDeque<Reading>,
    source: mpsc::WeakUnboundedSender<Work>,
}

impl Job {
    pub(super) fn new(
        question: Box<Question>,
        unread: Vec<Reading>,
        source: mpsc::WeakUnboundedSender<Work>,
    ) -> Self {
        Self { question, unread: unread.into(), source }
    }

    /// Reads one file; gives the job back where there are more.
    fn read_one(mut self) -> Option<Self> {
        if self.question.is_heard()
            && let Some(mut reading) = self.unread.pop_front()
        {
            reading.read();
            // The source may have been closed; what was read is of no use then.
            self.tell(Work::Read(reading));
            if !self.unread.is_empty() {
                return Some(self);
            }
        }
        // Its answer is due, or nobody waits for it, of which the source's thread takes note.
        if let Some(source) = self.source.upgrade() {
            let _ = source.send(Work::LookUp(self.question));
        }
        None
    }

    fn tell(&self, work: Work) {
        if let Some(source) = self.source.upgrade() {
            let _ = source.send(work);
        }
    }
}

impl Hashing {
    /// Has the files of a job read; its question goes to its source again after that.
    pub(super) fn read(&self, job: Job) {
        let mut waiting = self.waiting();
        waiting.add(job);
        if waiting.idle == 0 && waiting.threads < THREADS {
            let shared = self.0.clone();
            let thread = std::thread::Builder::new().name("read for offers".to_owned());
            match thread.spawn(move || shared.run()) {
                Ok(_) => waiting.threads += 1,
                // What waits is dropped where nobody can read it, and its sessions hear so.
                Err(error) if waiting.threads == 0 => {
                    tracing::warn!("cannot start a thread to read stored files: {error}");
                    waiting.turns.clear();
                    let jobs = std::mem::take(&mut waiting.jobs);
                    drop(waiting);
                    drop(jobs);
                    return;
                }
                Err(_) => {}
            }
        }
        self.0.news.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting()
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // The queues are whole at every moment, so another thread's panic does not spoil them.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads whatever waits. It ends when nothing has for a while.
    fn run(&self) {
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
        let mut running = Running { shared: self, is_counted: true };
        loop {
            let mut waiting = self.waiting();
            while waiting.turns.is_empty() {
                waiting.idle += 1;
                let waited = self.news.wait_timeout(waiting, PATIENCE);
                let (back, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
                waiting = back;
                waiting.idle -= 1;
                if timed_out.timed_out() && waiting.turns.is_empty() {
                    // Off the count before the lock is let go of: who adds a job next has to know that nobody waits for it.
                    waiting.threads -= 1;
                    running.is_counted = false;
                    return;
                }
            }
            let Some(job) = waiting.next() else { continue };
            drop(waiting);
            if let Some(rest) = job.read_one() {
                self.waiting().add(rest);
            }
        }
    }
}

/// Takes a thread off the count that ends by a panic.
struct Running<'a> {
    shared: &'a Shared,
    is_counted: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.is_counted {
            self.shared.waiting().threads -= 1;
        }
    }
}

impl Waiting {
    /// Puts a job behind those of its sender. One whose next file waits goes there as well, so that the
    /// sessions of one sender take turns, too.
    fn add(&mut self, job: Job) {
        let sender = job.question.account().sender().to_owned();
        if !self.jobs.contains_key(&sender) {
            self.turns.push_back(sender.clone());
        }
        self.jobs.entry(sender).or_default().push_back(job);
    }

    /// The next job, whose sender goes to the end of the line.
    fn next(&mut self) -> Option<Job> {
        let sender = self.turns.pop_front()?;
        let jobs = self.jobs.get_mut(&sender)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.jobs.remove(&sender);
        } else {
            self.turns.push_back(sender);
        }
        job
    }
}
