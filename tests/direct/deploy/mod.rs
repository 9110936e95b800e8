//! Whole deploys through a coordinator: from a machine that is off to one that runs what was deployed.

mod fleet;
mod handed_out;
mod machine;
mod proxies;
mod refused;
mod relay;
mod restart;
mod runs_out;
