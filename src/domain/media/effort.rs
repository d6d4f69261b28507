//! How much work one image may cost: a few bytes can ask for a lot of it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::error::{Code, Error, Result};

/// How long the processor may work on one image.
pub const LONGEST: Duration = Duration::from_secs(5);

/// Says whether work on an image may go on; asked between frames and between attempts.
pub struct Effort(Box<dyn Fn() -> bool>);

impl Effort {
    /// So much time of the processor, from now on and on this thread: what others do on the machine
    /// does not count.
    pub fn of_this_thread(most: Duration) -> Self {
        let begun = spent();
        Self(Box::new(move || spent().saturating_sub(begun) < most))
    }

    /// As long as the question is answered with yes.
    #[cfg(feature = "sandbox")]
    pub fn while_true(may_go_on: impl Fn() -> bool + 'static) -> Self {
        Self(Box::new(may_go_on))
    }

    /// Refuses the image when it has cost too much.
    pub(super) fn go_on(&self) -> Result<()> {
        if (self.0)() {
            return Ok(());
        }
        Err(Error::from(Code::FileTooComplex))
    }
}

/// What this thread has worked since it began.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_counts_and_it_ends() {
        let effort = Effort::of_this_thread(Duration::from_millis(20));
        effort.go_on().expect("not begun");
        let mut number = 1_u64;
        while effort.go_on().is_ok() {
            number = std::hint::black_box(number.wrapping_mul(31));
        }
        assert!(
            Effort::of_this_thread(Duration::from_secs(60))
                .go_on()
                .is_ok()
        );
    }
}
