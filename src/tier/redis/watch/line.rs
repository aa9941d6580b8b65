//! An open connection: what was asked on it, and is to be sent.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use ::redis::{Cmd, cmd};
use tokio::time::Instant;

use super::super::replies::Replies;
use super::super::transport::{Reader, Writer};
use super::Watched;
use crate::shared::replay::Missing;

/// What the server owes an answer to.
#[derive(Clone, Copy)]
pub(super) enum Asked {
    /// So many confirmations are still to come.
    Subscribe(usize),
    /// The number of one partition, asked for then.
    Number(usize, Duration),
    Time(Duration),
    RunId,
    /// The history, which ends a question.
    History,
    Replay(usize, Missing),
}

/// An open connection.
pub(super) struct Line {
    reader: Reader,
    writer: Writer,
    pub(super) replies: Replies,
    /// In the order in which the answers come, each with the time at which it is too late.
    pub(super) asked: VecDeque<(Asked, Instant)>,
    /// What is to be sent.
    pub(super) unsent: Vec<u8>,
    /// When the next question is due.
    pub(super) due: Instant,
    /// The process at the other end.
    pub(super) run_id: Option<String>,
}

impl Line {
    pub(super) fn new(reader: Reader, writer: Writer) -> Self {
        let (asked, unsent) = (VecDeque::new(), Vec::new());
        Self { reader, writer, replies: Replies::new(), asked, unsent, due: Instant::now(), run_id: None }
    }

    /// Puts a command to what is to be sent.
    pub(super) fn send(&mut self, command: &Cmd, asked: Asked, patience: Duration) {
        self.unsent.extend_from_slice(&command.get_packed_command());
        self.asked.push_back((asked, Instant::now() + patience));
    }

    /// Reads once; how many bytes came.
    pub(super) async fn read(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.replies.poll_read(&mut *self.reader, cx)).await
    }

    /// Sends what is to be sent.
    ///
    /// # Cancel safety
    /// What is left of it is sent first by the next call.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let Self { writer, unsent, .. } = self;
        poll_fn(|cx| {
            while !unsent.is_empty() {
                let sent = ready!(Pin::new(&mut **writer).poll_write(cx, unsent))?;
                if sent == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                unsent.drain(..sent);
            }
            Pin::new(&mut **writer).poll_flush(cx)
        })
        .await
    }
}

/// The command that reads what is missing; one entry more than that would show that the log is not what it should be.
pub(super) fn range(names: &Watched, missing: Missing) -> Cmd {
    let mut range = cmd("XRANGE");
    range.arg(&names.log).arg(format!("{}-1", missing.after + 1)).arg(format!("{}-1", missing.through));
    range.arg("COUNT").arg(missing.count() + 1);
    range
}
