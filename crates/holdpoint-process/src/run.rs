//! The driver of one run: feeds what it observes to the machine and carries its effects out.

use std::future;
use std::path::Path;
use std::pin::pin;

use holdpoint_core::Cancel;
use tokio::time::{Instant, sleep_until};

use crate::error::ProcessError;
use crate::exit::Exit;
use crate::group::Group;
use crate::log::Log;
use crate::machine::{Effect, Finish, Input, Machine};
use crate::options::RunOptions;
use crate::output::{OutputSink, Stream};
use crate::pipe::Pipe;
use crate::watch::ExitWatch;

/// Accompanies a started process to its end.
pub(crate) async fn accompany(
    mut group: Group,
    log: Option<&Path>,
    sink: &mut (impl OutputSink + ?Sized),
    cancel: &Cancel,
    options: RunOptions,
) -> Result<Exit, ProcessError> {
    let pid = group.id();
    let lost_sight = |source| ProcessError::Watch { pid, source };
    sink.started(pid);
    let mut watch = ExitWatch::new(&group).map_err(lost_sight)?;
    let (stdout, stderr) = group.take_output();
    let mut run = Run {
        stdout: Pipe::new(Stream::Stdout, stdout).map_err(lost_sight)?,
        stderr: Pipe::new(Stream::Stderr, stderr).map_err(lost_sight)?,
        log: Log::new(log),
        sink,
        machine: Machine::new(options),
        started: Instant::now(),
        group,
    };
    let mut cancelled = pin!(cancel.cancelled());
    let mut cause = None;
    let mut exited = false;
    let leaky_output = loop {
        let deadline = run.machine.next_deadline().map(|after| run.started + after);
        // Output comes last, for a stream that never pauses must not hide the rest.
        let finish = tokio::select! {
            biased;
            ended = watch.exited(&run.group), if !exited => {
                ended.map_err(lost_sight)?;
                exited = true;
                run.exited()
            }
            by = &mut cancelled, if cause.is_none() => {
                cause = Some(by);
                // An end that nobody has noticed yet came before this cancel (CD-10).
                if !exited && run.group.has_exited().map_err(lost_sight)? {
                    exited = true;
                    run.exited().or_else(|| run.observe(Input::Cancelled))
                } else {
                    run.observe(Input::Cancelled)
                }
            }
            () = reached(deadline) => run.observe(Input::Tick),
            () = run.stdout.readable() => run.output(),
            () = run.stderr.readable() => run.output(),
        };
        match finish {
            None => {}
            Some(Finish::Exited { leaky_output }) => break leaky_output,
            Some(Finish::Unkillable) => return Err(ProcessError::Unkillable { pid }),
        }
    };

    let Run { machine, group, mut stdout, mut stderr, log, sink, .. } = run;
    stdout.close(sink);
    stderr.close(sink);
    let exit = Exit {
        pid,
        status: group.reap().map_err(lost_sight)?,
        cancelled: cause.filter(|_| machine.interrupted()),
        leaky_output,
        output_bytes: stdout.bytes() + stderr.bytes(),
    };
    if let Some((path, source)) = log.failure() {
        return Err(ProcessError::Log { path: path.into(), exit: Box::new(exit), source });
    }
    if let Some((stream, source)) = stdout.into_failure().or(stderr.into_failure()) {
        return Err(ProcessError::Output { stream, exit: Box::new(exit), source });
    }
    Ok(exit)
}

struct Run<'a, S: ?Sized> {
    group: Group,
    stdout: Pipe,
    stderr: Pipe,
    log: Log<'a>,
    sink: &'a mut S,
    machine: Machine,
    started: Instant,
}

impl<S: OutputSink + ?Sized> Run<'_, S> {
    fn exited(&mut self) -> Option<Finish> {
        self.stdout.settle(&mut self.log, self.sink);
        self.stderr.settle(&mut self.log, self.sink);
        self.observe(Input::Exited).or_else(|| self.closed())
    }

    fn output(&mut self) -> Option<Finish> {
        self.stdout.take(&mut self.log, self.sink);
        self.stderr.take(&mut self.log, self.sink);
        self.closed()
    }

    fn closed(&mut self) -> Option<Finish> {
        let closed = !self.stdout.is_open() && !self.stderr.is_open();
        closed.then(|| self.observe(Input::OutputClosed)).flatten()
    }

    /// Feeds the machine until it wants nothing more for now.
    fn observe(&mut self, input: Input) -> Option<Finish> {
        let mut input = input;
        loop {
            input = match self.machine.handle(self.started.elapsed(), input)? {
                Effect::Terminate => {
                    self.group.terminate();
                    Input::Tick
                }
                Effect::Kill => {
                    self.group.kill();
                    Input::Tick
                }
                Effect::LookForMembers if self.group.has_members() => Input::Tick,
                Effect::LookForMembers => Input::GroupEmpty,
                Effect::Finish(finish) => return Some(finish),
            };
        }
    }
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => future::pending().await,
    }
}
