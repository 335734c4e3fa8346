//! Room for expressions that are nested deeply: whoever walks over them calls itself once for each level, and the threads
//! that answer requests have small stacks.

use std::panic::resume_unwind;

use kube_cel::cel::IdedExpr;

use super::syntax::children;

/// Shorter expressions cannot be nested so deeply that they need room.
const SHORT: usize = 256;
/// Trees that are no higher than that are walked on any stack.
const LOW: usize = 40;
/// For 250 levels, with what an unoptimised build takes for each.
const STACK: usize = 64 << 20;

/// Whether a source text may need room.
pub(super) fn is_long(source: &str) -> bool {
    source.len() > SHORT
}

/// Whether a tree is so high that a walk over it needs room.
pub(super) fn is_high(tree: &IdedExpr) -> bool {
    fn height(node: &IdedExpr) -> usize {
        1 + children(&node.expr).into_iter().map(height).max().unwrap_or_default()
    }
    height(tree) > LOW
}

/// Runs work, with much room where it `needs` that.
///
/// # Errors
/// Where the system gives no thread.
pub(super) fn with_room<T: Send>(
    needs: bool,
    work: impl FnOnce() -> T + Send,
) -> Result<T, String> {
    if !needs {
        return Ok(work());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(error) => Err(format!("there is no thread for an expression this deep: {error}")),
        }
    })
}
