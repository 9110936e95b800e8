//! What people see on a terminal: shared by the `farrier` command and `cargo xtask`.

mod board;
mod text;

pub use board::{Board, progress_text};
pub use text::{bytes, duration, seconds, table, table_text};
