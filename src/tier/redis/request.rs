//! What travels on a link's lane: commands, on a writer of bytes, for whoever awaits a channel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::redis::{Cmd, Value};
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::lane::{self, Caller, Wire};
use super::transport::Writer;
use crate::error::{Error, Result};

/// The answers to the commands of one request, in their order; an error answer is one of them.
pub(super) type Answers = Result<Vec<Value>>;

pub(super) type Lane = lane::Lane<Writer, oneshot::Sender<Answers>>;
pub(super) type Request = lane::Request<oneshot::Sender<Answers>>;

/// A request and its answers' other end. There is one command at least.
pub(super) fn request(commands: &[Cmd], deadline: Instant) -> (Request, oneshot::Receiver<Answers>) {
    let mut packed = Vec::with_capacity(commands.len() * 64);
    commands.iter().for_each(|command| command.write_packed_command(&mut packed));
    let (caller, answers) = oneshot::channel();
    (Request::new(packed, commands.len(), deadline, caller), answers)
}

impl Caller for oneshot::Sender<Answers> {
    type Answer = Value;
    type Error = Error;
    type Time = Instant;

    /// Whoever stopped waiting does not hear it.
    fn tell(self, answers: Answers) {
        let _ = self.send(answers);
    }
}

impl Wire for Writer {
    type Broken = io::Error;

    fn write(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(self).poll_write(cx, bytes))? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => Poll::Ready(Ok(count)),
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_flush(cx)
    }
}
