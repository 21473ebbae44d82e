// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Makes products of dimensions: whole ones, and ones in which every pair or triple of states
//! occurs, by few points. The same seed makes the same points for ever.

use super::dimension::{Axis, COUNT, DIMENSIONS, Point, VALUES};

/// The states of each dimension that a product uses.
pub type Choices = [Vec<u8>; COUNT];

/// Every state of every dimension, the selector's value by its sample.
#[must_use]
pub fn all_states() -> Choices {
    std::array::from_fn(|at| match DIMENSIONS[at].states.len() {
        0 => VALUES.to_vec(),
        states => (0..states).map(|state| u8::try_from(state).unwrap_or(u8::MAX)).collect(),
    })
}

/// Every combination of these choices that is `valid`.
pub fn whole(choices: &Choices, valid: impl Fn(&Point) -> bool) -> Vec<Point> {
    let mut points = vec![Point::default()];
    for (at, states) in choices.iter().enumerate() {
        points = points
            .iter()
            .flat_map(|point| {
                states.iter().map(|state| {
                    let mut point = *point;
                    point.0[at] = *state;
                    point
                })
            })
            .collect();
    }
    points.retain(valid);
    points
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below this limit, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit as u64).unwrap_or(0)
    }
}

/// So many random points of these choices that are `valid`.
pub fn random(
    choices: &Choices,
    seed: u64,
    count: usize,
    valid: impl Fn(&Point) -> bool,
) -> Vec<Point> {
    let mut random = Random(seed);
    let mut points = Vec::with_capacity(count);
    while points.len() < count {
        let point = Point(std::array::from_fn(|at| choices[at][random.below(choices[at].len())]));
        if valid(&point) {
            points.push(point);
        }
    }
    points
}

/// How many completions of a pair are tried before it counts as impossible, and of a larger
/// combination, of which there are many.
const TRIES: [usize; 2] = [600, 60];

/// Points in which every combination of `strength` states of different dimensions occurs that occurs
/// in any valid point, and the number of combinations that were given up: no valid point that has
/// them was found.
///
/// Greedy: takes the next combination that is not covered yet, completes it by random states
/// until so many `candidates` are valid, and keeps the one that covers most. Of `dear` dimensions, three completions of four have the first
/// state (after AETG: Cohen, Dalal, Fredman,
/// Patton 1997).
pub fn covering(
    choices: &Choices,
    strength: usize,
    seed: u64,
    candidates: usize,
    dear: &[Axis],
    valid: impl Fn(&Point) -> bool,
) -> (Vec<Point>, usize) {
    let mut random = Random(seed);
    let mut open = Open::new(choices, strength);
    let mut points = Vec::new();
    let mut impossible = 0;
    while let Some(tuple) = open.first() {
        let mut best: Option<(usize, Point)> = None;
        let mut found = 0;
        for _ in 0..TRIES[usize::from(strength > 2)] {
            let mut point =
                Point(std::array::from_fn(|at| choices[at][random.below(choices[at].len())]));
            for axis in dear {
                let at = *axis as usize;
                if random.below(4) != 0 {
                    point.0[at] = choices[at][0];
                }
            }
            for (at, state) in &tuple {
                point.0[*at] = *state;
            }
            if !valid(&point) {
                continue;
            }
            let gain = open.gain(&point);
            if best.is_none_or(|(most, _)| gain > most) {
                best = Some((gain, point));
            }
            found += 1;
            if found >= candidates {
                break;
            }
        }
        match best {
            Some((_, point)) => {
                open.cover(&point);
                points.push(point);
            }
            None => {
                open.give_up();
                impossible += 1;
            }
        }
    }
    (points, impossible)
}

/// The combinations that no point covers yet.
struct Open {
    /// For each set of dimensions: which, and a flag for each combination of their states.
    sets: Vec<(Vec<usize>, Vec<bool>)>,
    /// For each dimension, the index of each state among its choices.
    index: [[u8; 256]; COUNT],
    sizes: [usize; COUNT],
    choices: Choices,
    /// Where the search for the next open combination goes on.
    next: (usize, usize),
}

impl Open {
    fn new(choices: &Choices, strength: usize) -> Open {
        let mut index = [[0; 256]; COUNT];
        for (at, states) in choices.iter().enumerate() {
            for (number, state) in (0..).zip(states) {
                index[at][usize::from(*state)] = number;
            }
        }
        let sizes: [usize; COUNT] = std::array::from_fn(|at| choices[at].len());
        let free: Vec<usize> = (0..COUNT).filter(|at| sizes[*at] > 1).collect();
        let sets = subsets(&free, strength.min(free.len()))
            .into_iter()
            .map(|set| {
                let count = set.iter().map(|at| sizes[*at]).product();
                (set, vec![true; count])
            })
            .collect();
        Open { sets, index, sizes, choices: choices.clone(), next: (0, 0) }
    }

    fn place(&self, set: &[usize], point: &Point) -> usize {
        set.iter().fold(0, |place, at| {
            let state = usize::from(self.index[*at][usize::from(point.0[*at])]);
            place * self.sizes[*at] + state
        })
    }

    fn first(&mut self) -> Option<Vec<(usize, u8)>> {
        while let Some((set, flags)) = self.sets.get(self.next.0) {
            match flags[self.next.1..].iter().position(|open| *open) {
                None => self.next = (self.next.0 + 1, 0),
                Some(further) => {
                    self.next.1 += further;
                    let mut place = self.next.1;
                    let mut tuple = Vec::new();
                    for at in set.iter().rev() {
                        tuple.push((*at, self.choices[*at][place % self.sizes[*at]]));
                        place /= self.sizes[*at];
                    }
                    return Some(tuple);
                }
            }
        }
        None
    }

    fn gain(&self, point: &Point) -> usize {
        self.sets.iter().filter(|(set, flags)| flags[self.place(set, point)]).count()
    }

    fn cover(&mut self, point: &Point) {
        let places: Vec<usize> = self.sets.iter().map(|(set, _)| self.place(set, point)).collect();
        for ((_, flags), place) in self.sets.iter_mut().zip(places) {
            flags[place] = false;
        }
    }

    fn give_up(&mut self) {
        let (set, place) = self.next;
        self.sets[set].1[place] = false;
    }
}

/// Every subset of this size.
fn subsets(of: &[usize], size: usize) -> Vec<Vec<usize>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in of.iter().enumerate() {
        for mut rest in subsets(&of[at + 1..], size - 1) {
            rest.insert(0, *first);
            all.push(rest);
        }
    }
    all
}
