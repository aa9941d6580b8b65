//! What the suites of `cargo bench` and the scenarios of `perf` share: the rivals behind one trait, and the work they do.

pub mod local;
pub mod remote;
pub mod stampede;
pub mod workload;

#[expect(missing_docs, reason = "a file of the tests', which need none")]
#[path = "../../tests/support/redis_server.rs"]
pub mod redis_server;
