//! The control service over a node that is made up: a ban list of its own, members that do as they are told.

mod allowing;
mod asking;
mod commanding;
mod door;
mod guarding;
mod history;
mod keys;
mod made_up;
mod members;
mod overriding;
mod recovering;
mod setting;
mod tokens;
