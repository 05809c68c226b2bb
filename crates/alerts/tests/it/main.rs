//! The engine against values that were computed otherwise: single scenes, a model that recomputes everything from the whole
//! history, and a month in which the truth is known.

mod fixture;
mod limit;
mod model;
mod month;
mod noise;
mod outage;
mod replace;
