//! How much of the stack is used: recursion in templates is bounded by the stack itself, not by a guess of its size.

/// Stack of the thread that renders.
pub(crate) const SIZE: usize = 256 << 20;
/// Left for what runs below a check.
const RESERVE: usize = 32 << 20;

/// Where the stack begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack {
    base: usize,
    limit: usize,
}

impl Stack {
    /// The stack of a thread that was started with [`SIZE`].
    pub(crate) fn here() -> Self {
        Self { base: address(), limit: SIZE - RESERVE }
    }

    pub(crate) fn is_exhausted(self) -> bool {
        self.base.abs_diff(address()) > self.limit
    }
}

#[inline(never)]
fn address() -> usize {
    let here = 0u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// Runs work on a thread with a big stack.
pub(crate) fn on_big_stack<T: Send>(
    work: impl FnOnce(Stack) -> T + Send,
) -> Result<T, std::io::Error> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("render".to_owned())
            .stack_size(SIZE)
            .spawn_scoped(scope, || work(Stack::here()))?
            .join()
            .map_err(|_| std::io::Error::other("the rendering thread ended"))
    })
}
