//! Scaling down by averages, row by row: it needs the memory of the result and of one row.

/// Takes the rows of an image and gives a smaller one. Every pixel of the result is the average
/// of the area that it covers.
pub(super) struct Shrink<const N: usize> {
    from: (u32, u32),
    to: (u32, u32),
    /// For each source column: its first target column, and how much of the source column lies
    /// in that one and in the next, in units of `1 / from.0`.
    columns: Vec<(usize, f32, f32)>,
    row: u32,
    line: Vec<f32>,
    sums: Vec<f32>,
    result: Vec<u8>,
}

impl<const N: usize> Shrink<N> {
    /// Invariant: no side grows, and none is zero.
    pub(super) fn new(from: (u32, u32), to: (u32, u32)) -> Self {
        assert!(0 < to.0 && to.0 <= from.0 && 0 < to.1 && to.1 <= from.1);
        let columns = (0..from.0).map(|x| share(x, from.0, to.0)).collect();
        let width = to.0 as usize * N;
        Self {
            from,
            to,
            columns,
            row: 0,
            line: vec![0.0; width],
            sums: vec![0.0; width],
            result: Vec::with_capacity(width * to.1 as usize),
        }
    }

    /// Takes the next row, `N` bytes for each pixel.
    pub(super) fn push(&mut self, row: &[u8]) {
        if self.from == self.to {
            self.result.extend_from_slice(row);
            return;
        }
        self.line.fill(0.0);
        for (pixel, (column, here, next)) in row.chunks_exact(N).zip(&self.columns) {
            let at = column * N;
            for (sum, value) in self.line[at..at + N].iter_mut().zip(pixel) {
                *sum += f32::from(*value) * here;
            }
            if *next > 0.0 {
                for (sum, value) in self.line[at + N..at + 2 * N].iter_mut().zip(pixel) {
                    *sum += f32::from(*value) * next;
                }
            }
        }
        let (target, here, next) = share(self.row, self.from.1, self.to.1);
        for (sum, value) in self.sums.iter_mut().zip(&self.line) {
            *sum += value * here;
        }
        self.row += 1;
        // The target row ends with this source row or within it.
        let ends = u64::from(self.row) * u64::from(self.to.1)
            >= (target as u64 + 1) * u64::from(self.from.1);
        if ends {
            let area = self.from.0 as f32 * self.from.1 as f32;
            for (sum, value) in self.sums.iter_mut().zip(&self.line) {
                self.result.push((*sum / area + 0.5) as u8);
                *sum = value * next;
            }
        }
    }

    /// The smaller image, once all rows are in.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let size = self.to.0 as usize * self.to.1 as usize * N;
        self.result.resize(size, 0);
        self.result
    }
}

/// Where the source column or row number `at` of `from` lies among `to` targets.
fn share(at: u32, from: u32, to: u32) -> (usize, f32, f32) {
    let (at, from, to) = (u64::from(at), u64::from(from), u64::from(to));
    let target = at * to / from;
    let here = ((target + 1) * from - at * to).min(to);
    (target as usize, here as f32, (to - here) as f32)
}

/// The size that fits into `longest` squared with the same proportions; never larger than it was.
pub(super) fn fitted(from: (u32, u32), longest: u32) -> (u32, u32) {
    let side = from.0.max(from.1);
    if side <= longest {
        return from;
    }
    (
        scaled(from.0, longest, side).min(from.0),
        scaled(from.1, longest, side).min(from.1),
    )
}

/// `length * numerator / denominator`, rounded, at least 1.
pub(super) fn scaled(length: u32, numerator: u32, denominator: u32) -> u32 {
    let denominator = u64::from(denominator).max(1);
    let product = u64::from(length) * u64::from(numerator);
    u32::try_from((product + denominator / 2) / denominator)
        .unwrap_or(u32::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shrink(from: (u32, u32), to: (u32, u32), bytes: &[u8]) -> Vec<u8> {
        let mut shrink = Shrink::<1>::new(from, to);
        for row in bytes.chunks_exact(from.0 as usize) {
            shrink.push(row);
        }
        shrink.finish()
    }

    #[test]
    fn each_pixel_is_the_average_of_its_area() {
        let bytes = [0, 100, 200, 40, 20, 60, 80, 120];
        assert_eq!(shrink((4, 2), (2, 1), &bytes), [45, 110]);
        // Three columns into two: the middle one counts half on each side.
        assert_eq!(shrink((3, 1), (2, 1), &[90, 30, 0]), [70, 10]);
        assert_eq!(shrink((1, 3), (1, 2), &[90, 30, 0]), [70, 10]);
    }

    #[test]
    fn one_colour_stays_that_colour_in_every_size() {
        for from in 1..24_u32 {
            for to in 1..=from {
                let bytes = vec![201; (from * from) as usize];
                let shrunk = shrink((from, from), (to, to), &bytes);
                assert_eq!(shrunk, vec![201; (to * to) as usize], "{from} to {to}");
            }
        }
    }

    #[test]
    fn sizes_keep_their_proportions() {
        assert_eq!(fitted((4000, 3000), 1600), (1600, 1200));
        assert_eq!(fitted((3000, 4000), 1600), (1200, 1600));
        assert_eq!(fitted((60_000, 1), 100), (100, 1));
        assert_eq!(fitted((20, 10), 100), (20, 10));
    }
}
