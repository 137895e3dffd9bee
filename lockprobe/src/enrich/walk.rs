//! A copied stack as functions with their lines.

use super::atlas::{Atlas, Frame};
use super::binary::Source;
use super::sample::Sample;
use super::unwind::{self, Base, FramePointer, Registers, Stack, Step};
use super::{names, perf_map, source};
use crate::model::{self, StackFrame, thread::printable};
use std::ops::Range;
use std::sync::Arc;

/// Frames of one stack told; deeper ones are cut off.
const FRAMES: usize = 128;

/// Code with frame pointers and without unwind tables: what programs make for themselves, and
/// hand-written code that keeps to the custom.
const BY_FRAME_POINTER: Step =
    Step { base: (Base::Frame, 16), ret: Some(-8), frame_pointer: FramePointer::At(-16) };

/// One function of a stack, not yet named.
pub enum Stop {
    /// In a file.
    Code(Frame),
    /// In memory the program wrote code to.
    Generated(u64),
}

impl Atlas {
    /// The functions of a copied stack, the innermost first, and whether the last one is where the
    /// thread began.
    pub fn walk(&mut self, pid: u32, start: Registers, stack: &Stack<'_>) -> (Vec<Stop>, bool) {
        let mut stops = Vec::new();
        let mut at = start;
        while stops.len() < FRAMES {
            let step = if let Some(frame) = self.frame(pid, at.pc, 0, stops.is_empty()) {
                let below = match stops.last() {
                    Some(Stop::Code(below)) => Some(below),
                    _ => None,
                };
                if below.is_some_and(|below| !self.leads_to(pid, below, &frame)) {
                    return (stops, false);
                }
                let place = &frame.place;
                let (step, covered, bottom) = (place.step, place.covered, place.bottom);
                stops.push(Stop::Code(frame));
                if bottom {
                    return (stops, true);
                }
                step.or((!covered).then_some(BY_FRAME_POINTER))
            } else if self.maps(pid).is_generated(at.pc) {
                stops.push(Stop::Generated(at.pc));
                Some(BY_FRAME_POINTER)
            } else {
                // Nothing runs there: the step before led astray, and so may what it found.
                return (stops, false);
            };
            let Some((up, _)) = step.and_then(|step| unwind::caller(at, &step, stack)) else {
                break;
            };
            at = up;
        }
        (stops, false)
    }

    /// A copied stack with names and lines. Where the interpreter of Python runs, its frames stand
    /// in for the interpreter's own.
    pub fn stack(&mut self, sample: &Sample) -> model::Stack {
        let stack = Stack { start: sample.start, bytes: &sample.bytes };
        let (stops, complete) = self.walk(sample.id.pid, sample.at, &stack);
        let runs: Vec<bool> = stops.iter().map(runs_python).collect();
        let last = runs.iter().rposition(|&runs| runs);
        let mut groups = sample.python.iter().flat_map(|python| &python.groups);
        let generated = stops.iter().filter_map(|stop| match stop {
            // A return address may be the first byte of the next function.
            Stop::Generated(pc) => Some(pc - 1),
            Stop::Code(_) => None,
        });
        let generated: Vec<u64> = generated.collect();
        let mut generated = perf_map::names(sample.id.pid, &generated).into_iter();
        let tail = if last.is_none() { tail_calls(sample, &stops) } else { 0..0 };
        let mut inside = false;
        let mut frames = Vec::new();
        for (i, stop) in stops.iter().enumerate() {
            if tail.contains(&i) {
                groups.by_ref().for_each(|group| frames.extend(group.iter().cloned()));
                continue;
            }
            if let Some(group) = runs[i].then(|| groups.next()).flatten() {
                inside = true;
                frames.extend(group.iter().cloned());
                continue;
            }
            match stop {
                // Between two calls of the interpreter lies how it calls itself.
                Stop::Code(frame) if inside && Some(i) < last && of_interpreter(sample, frame) => {}
                Stop::Code(frame) => self.tell(sample.id.pid, frame, &mut frames),
                Stop::Generated(_) => {
                    let function = generated.next().unwrap_or_default().into();
                    frames.push(StackFrame { function, ..StackFrame::default() });
                }
            }
        }
        // The copy may end before the frames do.
        let mut cut = frames.len() > FRAMES;
        for group in groups {
            cut = true;
            frames.extend(group.iter().cloned());
        }
        frames.truncate(FRAMES);
        model::Stack { frames, complete: complete && !cut }
    }

    /// One place in code as the functions that the compiler made one.
    fn tell(&mut self, pid: u32, frame: &Frame, out: &mut Vec<StackFrame>) {
        let source = Source::new(pid, &frame.mapping);
        let Some(binary) = self.binary(&source) else { return };
        if let Some(known) = binary.told.get(&frame.address) {
            return out.extend(known.iter().cloned());
        }
        let symbol = frame.place.symbol.as_deref().map(names::readable).unwrap_or_default();
        let lines = if binary.elf.lines { source::lines(&source, frame.address) } else { vec![] };
        let offset = frame.pc.wrapping_sub(frame.mapping.start).wrapping_add(frame.mapping.offset);
        let module: Arc<str> = printable(frame.mapping.file_name()).into();
        let of = |function: &str, source: Option<(String, u32)>| StackFrame {
            function: function.into(),
            source: source.map(|(file, line)| (file.into(), line)),
            module: module.clone(),
            offset,
        };
        let mut told: Vec<StackFrame> =
            lines.into_iter().map(|line| of(&line.function, line.place)).collect();
        match told.last_mut() {
            // Debug information often has the bare name (`operator()`), the symbol all of it.
            Some(outer) if !symbol.is_empty() => outer.function = symbol.into(),
            Some(_) => {}
            None => told.push(of(&symbol, None)),
        }
        out.extend(told.iter().cloned());
        binary.told.insert(frame.address, told.into());
    }
}

/// The function that runs Python code (`Python/ceval.c`), or a part of it that lies elsewhere.
fn runs_python(stop: &Stop) -> bool {
    let Stop::Code(frame) = stop else { return false };
    frame.place.symbol.as_ref().is_some_and(|s| s.starts_with("_PyEval_EvalFrameDefault"))
}

/// The interpreter's own part of a stack that shows no function that runs Python code: since 3.14
/// one may be made of many small ones without names (`--with-tail-call-interp`). Empty where code
/// of others lies in between, whose place among Python's functions nothing tells.
fn tail_calls(sample: &Sample, stops: &[Stop]) -> Range<usize> {
    let own = |stop: &Stop| matches!(stop, Stop::Code(frame) if of_interpreter(sample, frame));
    let nameless = |stop: &Stop| matches!(stop, Stop::Code(frame) if frame.place.symbol.is_none());
    let first = stops.iter().position(|stop| own(stop) && nameless(stop));
    let last = stops.iter().rposition(own);
    match (first, last) {
        (Some(first), Some(last)) if stops[first..=last].iter().all(own) => first..last + 1,
        _ => 0..0,
    }
}

fn of_interpreter(sample: &Sample, frame: &Frame) -> bool {
    sample.python.as_ref().is_some_and(|python| python.key == frame.mapping.key)
}
