// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Makes sets of points: full products, random points, and covering sets, in which few points contain every
//! pair or triple of states. The same seed always gives the same points.

use super::dimension::{Axis, COUNT, DIMENSIONS, Point, VALUES};

/// The states of each dimension that a product uses.
pub type Choices = [Vec<u8>; COUNT];

/// All states of all dimensions, with the sample [`VALUES`] of selector values.
#[must_use]
pub fn all_states() -> Choices {
    std::array::from_fn(|at| match DIMENSIONS[at].states.len() {
        0 => VALUES.to_vec(),
        states => (0..states).map(|state| u8::try_from(state).unwrap_or(u8::MAX)).collect(),
    })
}

/// The full product: every combination of these choices that is `valid`.
pub fn full_product(choices: &Choices, valid: impl Fn(&Point) -> bool) -> Vec<Point> {
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

/// The random number generator SplitMix64 (Steele, Lea, Flood 2014), with its state.
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

    /// A random number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit as u64).unwrap_or(0)
    }
}

/// `count` random points of these choices that are `valid`.
pub fn random_points(
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

/// The number of random completions that are tried before a combination counts as impossible: of a pair, and
/// of a larger combination.
const TRIES: [usize; 2] = [600, 60];

/// The number of completions of a pair by [`Uncovered::greedy_completion`] that are tried before random ones.
const GREEDY_TRIES: usize = 4;

/// A covering set: points that contain every combination of `strength` states of different dimensions. Also
/// returns the number of combinations for which no valid point was found.
///
/// The algorithm is greedy, after AETG (Cohen, Dalal, Fredman, Patton 1997). It takes the next combination
/// that is not covered and completes it to a valid point. Pairs are completed dimension by dimension, by the
/// state that covers most; if that gives no valid point, and for larger combinations, by random states, of
/// which in three of four completions an `expensive` dimension has its first.
pub fn covering(
    choices: &Choices,
    strength: usize,
    seed: u64,
    expensive: &[Axis],
    valid: impl Fn(&Point) -> bool,
) -> (Vec<Point>, usize) {
    let mut random = Random(seed);
    let mut open = Uncovered::new(choices, strength);
    let mut points = Vec::new();
    let mut impossible = 0;
    let (tries, greedy_tries) =
        if strength == 2 { (TRIES[0], GREEDY_TRIES) } else { (TRIES[1], 0) };
    while let Some(tuple) = open.first() {
        let completion = (0..tries).find_map(|attempt| {
            let point = if attempt < greedy_tries {
                open.greedy_completion(&tuple, &mut random)
            } else {
                random_completion(&tuple, choices, expensive, &mut random)
            };
            valid(&point).then_some(point)
        });
        if let Some(point) = completion {
            open.cover(&point);
            points.push(point);
        } else {
            open.skip_first();
            impossible += 1;
        }
    }
    (points, impossible)
}

/// A point with these states and random states of the other dimensions.
fn random_completion(
    tuple: &[(usize, u8)],
    choices: &Choices,
    expensive: &[Axis],
    random: &mut Random,
) -> Point {
    let mut point = Point(std::array::from_fn(|at| choices[at][random.below(choices[at].len())]));
    for axis in expensive {
        let at = *axis as usize;
        if random.below(4) != 0 {
            point.0[at] = choices[at][0];
        }
    }
    for (at, state) in tuple {
        point.0[*at] = *state;
    }
    point
}

/// The combinations that no point covers yet.
struct Uncovered {
    /// For each set of dimensions: their indices, and for each combination of their states whether it is
    /// uncovered.
    sets: Vec<(Vec<usize>, Vec<bool>)>,
    /// For each dimension, the indices of the sets that contain it.
    sets_with: [Vec<usize>; COUNT],
    /// For each dimension, the index of each state among the choices.
    index: [[u8; 256]; COUNT],
    sizes: [usize; COUNT],
    choices: Choices,
    /// The set and the combination at which the search for the next uncovered one continues.
    next: (usize, usize),
}

impl Uncovered {
    fn new(choices: &Choices, strength: usize) -> Uncovered {
        let mut index = [[0; 256]; COUNT];
        for (at, states) in choices.iter().enumerate() {
            for (number, state) in (0..).zip(states) {
                index[at][usize::from(*state)] = number;
            }
        }
        let sizes: [usize; COUNT] = std::array::from_fn(|at| choices[at].len());
        let free: Vec<usize> = (0..COUNT).filter(|at| sizes[*at] > 1).collect();
        let sets: Vec<_> = subsets(&free, strength.min(free.len()))
            .into_iter()
            .map(|set| {
                let count = set.iter().map(|at| sizes[*at]).product();
                (set, vec![true; count])
            })
            .collect();
        let sets_with = std::array::from_fn(|at| {
            (0..sets.len()).filter(|index| sets[*index].0.contains(&at)).collect()
        });
        Uncovered { sets, sets_with, index, sizes, choices: choices.clone(), next: (0, 0) }
    }

    /// The index of the point's combination of states of these dimensions.
    fn combination(&self, set: &[usize], point: &Point) -> usize {
        set.iter().fold(0, |index, at| {
            let state = usize::from(self.index[*at][usize::from(point.0[*at])]);
            index * self.sizes[*at] + state
        })
    }

    /// The distance between the combinations of neighbouring states of the dimension `at`.
    fn stride(&self, set: &[usize], at: usize) -> usize {
        set.iter()
            .skip_while(|other| **other != at)
            .skip(1)
            .map(|other| self.sizes[*other])
            .product()
    }

    /// The next uncovered combination: dimensions and states.
    fn first(&mut self) -> Option<Vec<(usize, u8)>> {
        while let Some((set, flags)) = self.sets.get(self.next.0) {
            match flags[self.next.1..].iter().position(|open| *open) {
                None => self.next = (self.next.0 + 1, 0),
                Some(further) => {
                    self.next.1 += further;
                    let mut index = self.next.1;
                    let mut tuple = Vec::new();
                    for at in set.iter().rev() {
                        tuple.push((*at, self.choices[*at][index % self.sizes[*at]]));
                        index /= self.sizes[*at];
                    }
                    return Some(tuple);
                }
            }
        }
        None
    }

    /// A point with these states. The other dimensions get, one after the other in a random order, the first
    /// state that covers most together with the states that are given or chosen already.
    fn greedy_completion(&self, tuple: &[(usize, u8)], random: &mut Random) -> Point {
        let mut point = Point(std::array::from_fn(|at| self.choices[at][0]));
        let mut chosen = [false; COUNT];
        for (at, state) in tuple {
            point.0[*at] = *state;
            chosen[*at] = true;
        }
        let mut left: Vec<usize> =
            (0..COUNT).filter(|at| self.sizes[*at] > 1 && !chosen[*at]).collect();
        while !left.is_empty() {
            let at = left.swap_remove(random.below(left.len()));
            chosen[at] = true;
            let sets = self.sets_with[at].iter().map(|index| &self.sets[*index]);
            point.0[at] = self.choices[at][0];
            let sets: Vec<_> = sets
                .filter(|(set, _)| set.iter().all(|other| chosen[*other]))
                .map(|(set, flags)| (flags, self.combination(set, &point), self.stride(set, at)))
                .collect();
            let gain = |number: usize| {
                sets.iter().filter(|(flags, first, stride)| flags[first + number * stride]).count()
            };
            let mut best = (0, self.choices[at][0]);
            for (number, state) in self.choices[at].iter().enumerate() {
                let gain = gain(number);
                if gain > best.0 {
                    best = (gain, *state);
                }
            }
            point.0[at] = best.1;
        }
        point
    }

    /// Marks the point's combinations as covered.
    fn cover(&mut self, point: &Point) {
        let found: Vec<usize> =
            self.sets.iter().map(|(set, _)| self.combination(set, point)).collect();
        for ((_, flags), index) in self.sets.iter_mut().zip(found) {
            flags[index] = false;
        }
    }

    /// Drops the combination that [`Self::first`] returned.
    fn skip_first(&mut self) {
        let (set, index) = self.next;
        self.sets[set].1[index] = false;
    }
}

/// All subsets of this size.
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
