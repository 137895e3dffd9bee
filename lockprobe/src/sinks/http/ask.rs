//! Questions to the pipeline's thread: few at a time, answered when it has a moment.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Questions that may wait.
const QUEUE: usize = 16;
/// Between two answers: a reader in a hurry must not keep the pipeline from its work.
const APART: Duration = Duration::from_millis(200);
/// How long a reader is left waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes the page. Called on the server's thread, so that the pipeline's has only to take the
/// picture.
pub type Answer = Arc<dyn Fn() -> Vec<u8> + Send + Sync>;

type Question = oneshot::Sender<Answer>;

pub(super) fn channel() -> (Questions, Asks) {
    let (sender, receiver) = sync_channel(QUEUE);
    (Questions(sender), Asks { receiver, answered: None })
}

/// The server's end.
#[derive(Clone)]
pub(super) struct Questions(SyncSender<Question>);

impl Questions {
    /// Asks, and waits for the answer; a sentence when there is none in time.
    pub async fn ask(&self) -> Result<Answer, String> {
        let (question, answer) = oneshot::channel();
        if self.0.try_send(question).is_err() {
            return Err("too many ask at once, or lockprobe is ending; try again".to_owned());
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err("lockprobe is ending".to_owned()),
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                Err(format!("the pipeline did not answer within {seconds} s; try again"))
            }
        }
    }
}

/// The pipeline's end.
pub struct Asks {
    receiver: Receiver<Question>,
    answered: Option<Instant>,
}

impl Asks {
    /// Answers all who ask with one picture, unless it has just been done. To be called between
    /// batches, ten times a second at least.
    pub fn answer(&mut self, picture: impl FnOnce() -> Answer) {
        if self.answered.is_some_and(|at| at.elapsed() < APART) {
            return;
        }
        // Who has gone away meanwhile is no reason to take a picture.
        let waiting: Vec<Question> =
            self.receiver.try_iter().take(QUEUE).filter(|asker| !asker.is_closed()).collect();
        if waiting.is_empty() {
            return;
        }
        let answer = picture();
        for asker in waiting {
            let _ = asker.send(answer.clone());
        }
        self.answered = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn all_who_ask_get_one_picture() {
        let (questions, mut asks) = channel();
        asks.answer(|| panic!("nobody asked"));
        let answers = runtime().block_on(async {
            let all = [0; 3].map(|_| {
                let questions = questions.clone();
                async move { questions.ask().await.map(|answer| answer()) }
            });
            let [one, two, three] = all;
            let mut taken = 0;
            let answering = async {
                tokio::task::yield_now().await;
                asks.answer(|| {
                    taken += 1;
                    Arc::new(|| b"picture".to_vec())
                });
            };
            let answers = tokio::join!(one, two, three, answering);
            assert_eq!(taken, 1);
            [answers.0, answers.1, answers.2]
        });
        assert_eq!(answers, [0; 3].map(|_| Ok(b"picture".to_vec())));
    }

    #[test]
    fn too_many_questions_and_slow_answers_are_told() {
        let (questions, asks) = channel();
        for _ in 0..QUEUE {
            questions.0.try_send(oneshot::channel().0).unwrap();
        }
        let said = runtime().block_on(questions.ask()).err().unwrap();
        assert!(said.contains("too many"), "{said}");
        while asks.receiver.try_recv().is_ok() {}
        let begun = Instant::now();
        let said = runtime().block_on(questions.ask()).err().unwrap();
        assert!(said.contains("within 2 s") && begun.elapsed() >= PATIENCE, "{said}");
        drop(asks);
        let said = runtime().block_on(questions.ask()).err().unwrap();
        assert!(said.contains("ending"), "{said}");
    }

    #[test]
    fn a_reader_in_a_hurry_waits_its_turn() {
        let (questions, mut asks) = channel();
        let mut taken = 0;
        let mut ask = || {
            let (question, answer) = oneshot::channel();
            questions.0.try_send(question).unwrap();
            asks.answer(|| {
                taken += 1;
                Arc::new(Vec::new)
            });
            answer
        };
        let (mut first, mut second) = (ask(), ask());
        assert!(first.try_recv().is_ok() && second.try_recv().is_err());
        std::thread::sleep(APART);
        let mut third = ask();
        assert!(second.try_recv().is_ok() && third.try_recv().is_ok());
        drop(ask());
        std::thread::sleep(APART);
        asks.answer(|| panic!("whoever asked has gone"));
        assert_eq!(taken, 2);
    }
}
