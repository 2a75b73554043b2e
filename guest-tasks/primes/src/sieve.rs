//! The segmented sieve of Eratosthenes over odd numbers: O(n log log n) time, O(sqrt n) memory.
//!
//! Odd numbers are named by their index: `i` is the number `2i + 1`, so multiples of an odd prime `p` that
//! are odd lie `p` indices apart, the first one not struck by a smaller prime at `p * p`.

/// Odd numbers per segment, a byte each: fits a core's second-level cache.
const SEGMENT: usize = 1 << 18;
/// Segments between two calls to `at_block`, some milliseconds of work.
const BLOCK: u64 = 16;

/// What the sieve found.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub count: u64,
    pub largest: Option<u64>,
}

/// Counts the primes below `below`. `at_block` is told the percentage done now and then, and at the end;
/// its error stops the count.
pub fn count_below(below: u64, mut at_block: impl FnMut(u8) -> Result<(), String>) -> Result<Found, String> {
    // 2 is the only even prime.
    let mut found = Found { count: u64::from(below > 2), largest: (below > 2).then_some(2) };
    let odds = below / 2;
    let mut sieving = sieving_primes(below);
    let mut segment = vec![false; SEGMENT.min(odds as usize)];
    let mut start = 0;
    for number in 1.. {
        let length = (odds - start).min(SEGMENT as u64) as usize;
        segment.truncate(length);
        strike(&mut segment, start, &mut sieving);
        found.count += segment.iter().filter(|struck| !**struck).count() as u64;
        if let Some(last) = segment.iter().rposition(|struck| !struck) {
            found.largest = Some(2 * (start + last as u64) + 1);
        }
        start += length as u64;
        let done = start >= odds;
        if done || number % BLOCK == 0 {
            at_block((start * 100).checked_div(odds).unwrap_or(100) as u8)?;
        }
        if done {
            break;
        }
    }
    Ok(found)
}

/// A prime and the index of its first odd multiple that no segment has covered yet.
struct Sieving {
    prime: usize,
    next: u64,
}

/// Marks every composite (and 1) of the segment that starts at index `start`.
fn strike(segment: &mut [bool], start: u64, sieving: &mut [Sieving]) {
    segment.fill(false);
    if let (0, Some(one)) = (start, segment.first_mut()) {
        *one = true;
    }
    let end = start + segment.len() as u64;
    for Sieving { prime, next } in sieving {
        // They are in order, so the squares of all that follow lie beyond this segment too.
        if (*prime as u64).pow(2) / 2 >= end {
            break;
        }
        let mut at = (*next - start) as usize;
        while let Some(odd) = segment.get_mut(at) {
            *odd = true;
            at += *prime;
        }
        *next = start + at as u64;
    }
}

/// The odd primes up to the square root: every composite below `below` has one of them (or 2) as a factor.
fn sieving_primes(below: u64) -> Vec<Sieving> {
    let root = below.isqrt() as usize;
    let mut composite = vec![false; root + 1];
    let mut primes = Vec::new();
    for candidate in (3..=root).step_by(2) {
        if composite.get(candidate) == Some(&false) {
            for multiple in composite.iter_mut().skip(candidate).step_by(candidate) {
                *multiple = true;
            }
            primes.push(Sieving { prime: candidate, next: (candidate as u64).pow(2) / 2 });
        }
    }
    primes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(below: u64) -> (u64, Option<u64>) {
        let found = count_below(below, |_| Ok(())).unwrap();
        (found.count, found.largest)
    }

    #[test]
    fn small_ranges_agree_with_trial_division() {
        let (mut primes, mut largest) = (0, None);
        for below in 0..2_000 {
            assert_eq!(count(below), (primes, largest), "below {below}");
            if below >= 2 && (2..below).all(|d| below % d != 0) {
                (primes, largest) = (primes + 1, Some(below));
            }
        }
    }

    #[test]
    fn counts_agree_with_published_values() {
        // OEIS A006880 and A033873.
        assert_eq!(count(1_000_000), (78_498, Some(999_983)));
        assert_eq!(count(10_000_000), (664_579, Some(9_999_991)));
    }

    #[test]
    fn segment_borders_lose_nothing() {
        let border = 2 * SEGMENT as u64;
        for below in border - 40..border + 40 {
            let (here, _) = count(below);
            let (next, largest) = count(below + 1);
            assert_eq!(next - here, u64::from(largest == Some(below)), "at {below}");
        }
    }

    #[test]
    fn progress_rises_to_100_and_an_error_stops_the_count() {
        let mut seen = Vec::new();
        count_below(50_000_000, |percent| {
            seen.push(percent);
            Ok(())
        })
        .unwrap();
        assert!(seen.is_sorted() && seen.last() == Some(&100), "{seen:?}");
        let stopped = count_below(50_000_000, |_| Err("stop".into()));
        assert_eq!(stopped, Err("stop".into()));
    }
}
