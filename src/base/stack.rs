//! Work that recurses as deep as its input says, on a stack whose size is known.
//!
//! A thread that was started here knows what is left of its stack: work inside of other work runs on the same thread while
//! that is enough. Recursion is bounded by the stack itself then, not by a guess of its size.

use std::cell::Cell;
use std::io;
use std::thread;

thread_local! {
    static OWN: Cell<Option<Stack>> = const { Cell::new(None) };
}

/// A stretch of stack from where it begins.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    base: usize,
    size: usize,
}

impl Stack {
    fn from_here(size: usize) -> Self {
        Self { base: address(), size }
    }

    /// Bytes that are not used yet.
    pub fn left(self) -> usize {
        self.size.saturating_sub(self.base.abs_diff(address()))
    }
}

#[inline(never)]
fn address() -> usize {
    let here = 0u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// Runs work that may take `size` bytes of stack: on this thread if it has them left, else on one named `name`. Stack that
/// is not used costs no memory. The inner result is the panic of work that ran on a thread of its own.
///
/// # Errors
/// When the machine gives no thread.
pub fn with<T: Send>(
    name: &str,
    size: usize,
    work: impl FnOnce(Stack) -> T + Send,
) -> io::Result<thread::Result<T>> {
    if OWN.get().is_some_and(|own| own.left() >= size) {
        return Ok(Ok(work(Stack::from_here(size))));
    }
    let begun = || {
        let stack = Stack::from_here(size);
        OWN.set(Some(stack));
        work(stack)
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.to_owned()).stack_size(size);
        Ok(thread.spawn_scoped(scope, begun)?.join())
    })
}
