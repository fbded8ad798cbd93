//! What the tests share: a folder to work in, a running program, a running receiver.

mod place;
mod process;
mod receiver;

pub(crate) use place::{Place, assert_same_frames, frame};
pub(crate) use process::{Finished, Process, Signal};
pub(crate) use receiver::Receiver;
