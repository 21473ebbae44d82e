// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Makes sets of points: full products, random points, and covering sets. A covering set has few points, but
//! contains every pair or triple of states. The same seed always gives the same points.

use super::dimension::{Axis, DIMENSION_COUNT, DIMENSIONS, Point, SAMPLE_VALUES};

/// The states of each dimension that a product uses.
pub type Choices = [Vec<u8>; DIMENSION_COUNT];

/// All states of all dimensions, but only [`SAMPLE_VALUES`] as values of the selector.
#[must_use]
pub fn all_states() -> Choices {
    std::array::from_fn(|axis| match DIMENSIONS[axis].states.len() {
        0 => SAMPLE_VALUES.to_vec(),
        states => (0..states).map(|state| u8::try_from(state).unwrap_or(u8::MAX)).collect(),
    })
}

/// The full product: every combination of these choices that is `valid`.
pub fn full_product(choices: &Choices, valid: impl Fn(&Point) -> bool) -> Vec<Point> {
    let mut points = vec![Point::default()];
    for (axis, states) in choices.iter().enumerate() {
        points = points
            .iter()
            .flat_map(|point| {
                states.iter().map(|state| {
                    let mut point = *point;
                    point.0[axis] = *state;
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
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A random number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next_number() % limit as u64).unwrap_or(0)
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
        let point =
            Point(std::array::from_fn(|axis| choices[axis][random.below(choices[axis].len())]));
        if valid(&point) {
            points.push(point);
        }
    }
    points
}

/// The number of completions of a pair to a point that are tried before the pair counts as impossible.
const PAIR_TRIES: usize = 600;

/// The same number for larger combinations.
const COMBINATION_TRIES: usize = 60;

/// The number of completions of a pair by [`Uncovered::greedy_completion`] that are tried before random ones.
const GREEDY_TRIES: usize = 4;

/// A covering set: points that contain every combination of `strength` states of different dimensions. Also
/// returns the number of combinations for which no valid point was found.
///
/// The algorithm is greedy, after AETG (Cohen, Dalal, Fredman, Patton 1997). It takes the next
/// uncovered combination and completes it to a valid point. A pair is completed dimension by dimension,
/// with the state that covers most. If this gives no valid point, and for larger combinations, the
/// other states are random; an `expensive` dimension then has its first state in three of four
/// completions.
pub fn covering(
    choices: &Choices,
    strength: usize,
    seed: u64,
    expensive: &[Axis],
    valid: impl Fn(&Point) -> bool,
) -> (Vec<Point>, usize) {
    let mut random = Random(seed);
    let mut uncovered = Uncovered::new(choices, strength);
    let mut points = Vec::new();
    let mut impossible = 0;
    let (tries, greedy_tries) =
        if strength == 2 { (PAIR_TRIES, GREEDY_TRIES) } else { (COMBINATION_TRIES, 0) };
    while let Some(combination) = uncovered.next_combination() {
        let completion = (0..tries).find_map(|attempt| {
            let point = if attempt < greedy_tries {
                uncovered.greedy_completion(&combination, &mut random)
            } else {
                random_completion(&combination, choices, expensive, &mut random)
            };
            valid(&point).then_some(point)
        });
        if let Some(point) = completion {
            uncovered.cover(&point);
            points.push(point);
        } else {
            uncovered.skip_next();
            impossible += 1;
        }
    }
    (points, impossible)
}

/// A point with the states of this combination and random states of the other dimensions.
fn random_completion(
    combination: &[(usize, u8)],
    choices: &Choices,
    expensive: &[Axis],
    random: &mut Random,
) -> Point {
    let mut point =
        Point(std::array::from_fn(|axis| choices[axis][random.below(choices[axis].len())]));
    for axis in expensive {
        let axis = *axis as usize;
        if random.below(4) != 0 {
            point.0[axis] = choices[axis][0];
        }
    }
    for (axis, state) in combination {
        point.0[*axis] = *state;
    }
    point
}

/// The combinations that no point covers yet.
struct Uncovered {
    /// For each set of dimensions: the indices of the dimensions, and a flag for each combination of their
    /// states that is true while the combination is uncovered.
    sets: Vec<(Vec<usize>, Vec<bool>)>,
    /// For each dimension, the indices of the sets that contain it.
    sets_with: [Vec<usize>; DIMENSION_COUNT],
    /// For each dimension, the index of each state among the choices.
    state_indices: [[u8; 256]; DIMENSION_COUNT],
    /// For each dimension, the number of its choices.
    sizes: [usize; DIMENSION_COUNT],
    choices: Choices,
    /// The indices of the set and of the combination at which the search for uncovered combinations
    /// continues.
    position: (usize, usize),
}

impl Uncovered {
    fn new(choices: &Choices, strength: usize) -> Uncovered {
        let mut state_indices = [[0; 256]; DIMENSION_COUNT];
        for (axis, states) in choices.iter().enumerate() {
            for (number, state) in (0..).zip(states) {
                state_indices[axis][usize::from(*state)] = number;
            }
        }
        let sizes: [usize; DIMENSION_COUNT] = std::array::from_fn(|axis| choices[axis].len());
        let free: Vec<usize> = (0..DIMENSION_COUNT).filter(|axis| sizes[*axis] > 1).collect();
        let sets: Vec<_> = subsets(&free, strength.min(free.len()))
            .into_iter()
            .map(|set| {
                let count = set.iter().map(|axis| sizes[*axis]).product();
                (set, vec![true; count])
            })
            .collect();
        let sets_with = std::array::from_fn(|axis| {
            (0..sets.len()).filter(|index| sets[*index].0.contains(&axis)).collect()
        });
        Uncovered {
            sets,
            sets_with,
            state_indices,
            sizes,
            choices: choices.clone(),
            position: (0, 0),
        }
    }

    /// The index of the point's combination of states among all combinations of these dimensions.
    fn combination_index(&self, set: &[usize], point: &Point) -> usize {
        set.iter().fold(0, |index, axis| {
            let state = usize::from(self.state_indices[*axis][usize::from(point.0[*axis])]);
            index * self.sizes[*axis] + state
        })
    }

    /// The difference of the indices of two combinations that differ by one state of the dimension `axis`.
    fn stride(&self, set: &[usize], axis: usize) -> usize {
        set.iter()
            .skip_while(|other| **other != axis)
            .skip(1)
            .map(|other| self.sizes[*other])
            .product()
    }

    /// The next uncovered combination: indices of dimensions, and their states.
    fn next_combination(&mut self) -> Option<Vec<(usize, u8)>> {
        while let Some((set, flags)) = self.sets.get(self.position.0) {
            match flags[self.position.1..].iter().position(|is_uncovered| *is_uncovered) {
                None => self.position = (self.position.0 + 1, 0),
                Some(offset) => {
                    self.position.1 += offset;
                    let mut index = self.position.1;
                    let mut combination = Vec::new();
                    for axis in set.iter().rev() {
                        combination.push((*axis, self.choices[*axis][index % self.sizes[*axis]]));
                        index /= self.sizes[*axis];
                    }
                    return Some(combination);
                }
            }
        }
        None
    }

    /// A point with the states of this combination. Each other dimension, in random order, gets the state that
    /// covers most combinations together with the states chosen before.
    fn greedy_completion(&self, combination: &[(usize, u8)], random: &mut Random) -> Point {
        let mut point = Point(std::array::from_fn(|axis| self.choices[axis][0]));
        let mut chosen = [false; DIMENSION_COUNT];
        for (axis, state) in combination {
            point.0[*axis] = *state;
            chosen[*axis] = true;
        }
        let mut remaining: Vec<usize> =
            (0..DIMENSION_COUNT).filter(|axis| self.sizes[*axis] > 1 && !chosen[*axis]).collect();
        while !remaining.is_empty() {
            let axis = remaining.swap_remove(random.below(remaining.len()));
            chosen[axis] = true;
            let sets = self.sets_with[axis].iter().map(|index| &self.sets[*index]);
            point.0[axis] = self.choices[axis][0];
            let sets: Vec<_> = sets
                .filter(|(set, _)| set.iter().all(|other| chosen[*other]))
                .map(|(set, flags)| {
                    (flags, self.combination_index(set, &point), self.stride(set, axis))
                })
                .collect();
            let newly_covered = |number: usize| {
                sets.iter().filter(|(flags, first, stride)| flags[first + number * stride]).count()
            };
            let mut best = (0, self.choices[axis][0]);
            for (number, state) in self.choices[axis].iter().enumerate() {
                let count = newly_covered(number);
                if count > best.0 {
                    best = (count, *state);
                }
            }
            point.0[axis] = best.1;
        }
        point
    }

    /// Marks the point's combinations as covered.
    fn cover(&mut self, point: &Point) {
        let indices: Vec<usize> =
            self.sets.iter().map(|(set, _)| self.combination_index(set, point)).collect();
        for ((_, flags), index) in self.sets.iter_mut().zip(indices) {
            flags[index] = false;
        }
    }

    /// Treats the combination that [`Self::next_combination`] returned as covered.
    fn skip_next(&mut self) {
        let (set, index) = self.position;
        self.sets[set].1[index] = false;
    }
}

/// All subsets of `elements` with this size.
fn subsets(elements: &[usize], size: usize) -> Vec<Vec<usize>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (axis, first) in elements.iter().enumerate() {
        for mut rest in subsets(&elements[axis + 1..], size - 1) {
            rest.insert(0, *first);
            all.push(rest);
        }
    }
    all
}
