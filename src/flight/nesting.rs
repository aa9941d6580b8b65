//! Whose closures run on this thread right now: how a load that asks for its own key is noticed.
//!
//! The loads that run are on a stack, one for each thread: a load is pushed when its future is polled, or its closure
//! called, and popped when that poll or call returns or unwinds. What a task awaits is polled inside the task's own poll, so
//! the stack names every load through any nesting of awaits; it does not reach through `spawn`.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

thread_local! {
    static LOADS: RefCell<Vec<Load>> = const { RefCell::new(Vec::new()) };
}

struct Load {
    table: TableId,
    key: Arc<str>,
}

/// Tells one flight table from another. Valid as long as the table lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableId(pub(super) usize);

/// A load runs on this thread until this ends. Scopes end in the reverse of the order they began: each lives in one stack
/// frame, and cannot leave its thread.
#[must_use]
pub(super) struct Running(PhantomData<*const ()>);

impl Running {
    pub(super) fn begin(table: TableId, key: &Arc<str>) -> Self {
        // A thread whose locals are being destroyed notices no nesting.
        let _ = LOADS.try_with(|loads| loads.borrow_mut().push(Load { table, key: key.clone() }));
        Self(PhantomData)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = LOADS.try_with(|loads| loads.borrow_mut().pop());
    }
}

/// Whether a load of `key` runs further up this thread's stack.
pub(super) fn is_nested(table: TableId, key: &str) -> bool {
    any(|load| load.table == table && *load.key == *key)
}

/// Whether any load of `table` runs further up this thread's stack.
pub(crate) fn is_loading(table: TableId) -> bool {
    any(|load| load.table == table)
}

fn any(wanted: impl Fn(&Load) -> bool) -> bool {
    LOADS.try_with(|loads| loads.borrow().iter().any(wanted)).unwrap_or(false)
}
