//! The messages about the service itself: that it is online, and its summary. Each is said once, and again after the broker has refused
//! it. Pure.

#[derive(Debug, Default)]
pub struct OwnMessages {
    is_online: bool,
    summary: Vec<u8>,
    /// The broker has refused one of them since they were said.
    is_refused: bool,
}

impl OwnMessages {
    /// Whether it was said that the service is online.
    pub fn is_online(&self) -> bool {
        self.is_online
    }

    /// Says whether that is to be said now, and takes it for said.
    pub fn say_online(&mut self) -> bool {
        !std::mem::replace(&mut self.is_online, true)
    }

    /// The summary as it is now, if it was not said so; it is taken for said.
    pub fn say_summary(&mut self, now: Vec<u8>) -> Option<Vec<u8>> {
        let is_new = now != self.summary;
        if is_new {
            self.summary.clone_from(&now);
        }
        is_new.then_some(now)
    }

    pub fn note_refused(&mut self) {
        self.is_refused = true;
    }

    /// What was refused is to be said again.
    pub fn retry(&mut self) {
        if std::mem::take(&mut self.is_refused) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_said_once_and_again_after_it_was_refused() {
        let mut own = OwnMessages::default();
        let say = |own: &mut OwnMessages| (own.say_online(), own.say_summary(b"7".to_vec()).is_some());
        assert_eq!((own.is_online(), say(&mut own), say(&mut own)), (false, (true, true), (false, false)));
        assert!(own.is_online() && own.say_summary(b"8".to_vec()).is_some());
        own.retry();
        assert_eq!(own.say_summary(b"8".to_vec()), None, "nothing was refused");
        own.note_refused();
        assert!(!own.say_online(), "not before it is time");
        own.retry();
        assert_eq!((say(&mut own), say(&mut own)), ((true, true), (false, false)));
    }
}
