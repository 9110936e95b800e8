//! The store and the rules in it, without a broker: a real database on a file, and agents that are no more than what they say.

mod full;
mod jobs;
mod lab;
mod words;
