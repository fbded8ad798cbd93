//! The congestion controller on simulated paths, with quinn-proto's real loss recovery,
//! acknowledgements and pacing, in virtual time.

mod behaviour;
mod narrow;
mod overload;
mod paths;
mod repair;
mod sharing;
mod sim;
mod tables;
mod thin;
