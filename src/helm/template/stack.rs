//! How much of the stack templates may use.

use crate::base::stack;
pub(crate) use crate::base::stack::Stack;

/// What a render may use.
pub(crate) const SIZE: usize = 256 << 20;
/// Left for what runs below a check.
const RESERVE: usize = 32 << 20;

/// Whether a template may call no deeper.
pub(super) fn is_exhausted(stack: Stack) -> bool {
    stack.left() < RESERVE
}

/// Runs work with as much stack as a render may use.
pub(crate) fn on_big_stack<T: Send>(
    work: impl FnOnce(Stack) -> T + Send,
) -> Result<T, std::io::Error> {
    stack::with("render", SIZE, work)?
        .map_err(|_| std::io::Error::other("the rendering thread ended"))
}
