//! Where images are, and the URLs that agents fetch them by.

pub mod swift;
