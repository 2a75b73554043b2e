//! What of the memory is left to tasks: for those that begin, and for those that grow.

use crate::limits::Thresholds;
use crate::protection::{RESERVE_PERCENT, Sample};
use crate::scheduler::Held;

/// What the last sample that said it left. None of it where nothing is known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes for the memories of all tasks together.
    pub room_bytes: Option<u64>,
    /// Bytes that are free for growth, with the reserve.
    pub free_bytes: Option<u64>,
    /// The same without it, and without what would take this process above its own limit.
    pub spare_bytes: Option<u64>,
}

impl Memory {
    /// After `sample`, while tasks hold `held`. What cannot be read now is as it was.
    pub fn after(self, sample: &Sample, thresholds: &Thresholds, held: Held) -> Memory {
        let (Ok(ram), Ok(process)) = (&sample.ram, &sample.process) else { return self };
        // What guests grew by and have not touched is not taken from anybody yet, and promised to them.
        let ours = held.used_bytes.min(process.rss_bytes);
        let promised = held.used_bytes - ours;
        let reserve = ram.total_bytes / 100 * RESERVE_PERCENT;
        let spare = ram.available_bytes.saturating_sub(reserve);
        let limit = thresholds.process_ram_bytes;
        let room = spare.saturating_add(ours).min(limit.saturating_sub(process.rss_bytes - ours));
        Memory {
            room_bytes: Some(room),
            free_bytes: Some(ram.available_bytes.saturating_sub(promised)),
            spare_bytes: Some(spare.min(limit.saturating_sub(process.rss_bytes)).saturating_sub(promised)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Mode;
    use crate::protection::{Missing, Process, Ram, Roots, Sampler};

    const GIB: u64 = 1 << 30;

    /// Of a machine with 100 GiB.
    fn sample(available: u64, rss: u64) -> Sample {
        let mut sample =
            Sampler::new(Roots::default(), std::env::temp_dir()).sample(Default::default(), Ok(0.0));
        sample.ram = Ok(Ram { available_bytes: available, total_bytes: 100 * GIB, ..Ram::default() });
        sample.process = Ok(Process { rss_bytes: rss, ..Process::default() });
        sample
    }

    fn held(used_bytes: u64) -> Held {
        Held { used_bytes, counted_bytes: 0 }
    }

    fn thresholds() -> Thresholds {
        Thresholds { process_ram_bytes: 50 * GIB, ..Mode::Dev.into() }
    }

    #[test]
    fn tasks_together_may_take_what_is_left_and_what_they_have() {
        let memory = Memory::default().after(&sample(20 * GIB, 5 * GIB), &thresholds(), held(4 * GIB));
        assert_eq!(memory.room_bytes, Some(19 * GIB), "20 less 5 in reserve, and 4 of their own");
        assert_eq!((memory.free_bytes, memory.spare_bytes), (Some(20 * GIB), Some(15 * GIB)));
        let untouched = Memory::default().after(&sample(20 * GIB, GIB), &thresholds(), held(40 * GIB));
        assert_eq!(untouched.room_bytes, Some(16 * GIB), "what was not touched is nobody's yet");
        assert_eq!(untouched.free_bytes, Some(0), "and no other growth may have it");
        let some = Memory::default().after(&sample(20 * GIB, GIB), &thresholds(), held(4 * GIB));
        assert_eq!((some.free_bytes, some.spare_bytes), (Some(17 * GIB), Some(12 * GIB)));
    }

    #[test]
    fn the_process_has_a_limit_of_its_own() {
        let memory = Memory::default().after(&sample(90 * GIB, 48 * GIB), &thresholds(), held(40 * GIB));
        assert_eq!(memory.room_bytes, Some(42 * GIB), "8 are not the tasks'");
        assert_eq!(memory.spare_bytes, Some(2 * GIB));
        let over = Memory::default().after(&sample(90 * GIB, 60 * GIB), &thresholds(), held(0));
        assert_eq!((over.room_bytes, over.spare_bytes), (Some(0), Some(0)));
    }

    #[test]
    fn what_cannot_be_read_is_as_it_was() {
        let before = Memory::default().after(&sample(20 * GIB, GIB), &thresholds(), held(0));
        let mut blind = sample(0, 0);
        blind.ram = Err(Missing::Failed("no".to_owned()));
        assert_eq!(before.after(&blind, &thresholds(), held(0)), before);
        assert_eq!(Memory::default().after(&blind, &thresholds(), held(0)), Memory::default());
    }
}
