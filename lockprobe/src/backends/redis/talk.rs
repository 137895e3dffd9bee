//! One connection: which answer is to which request.

use std::collections::VecDeque;

use super::frame::{Answer, Request, Value};
use super::meaning::{Deed, Meaning};
use crate::framing::{Ears, Flow};
use crate::model::{Connection, Thread};

/// Most requests that wait for their answers; more are too many to be sure of any.
const OWED_AT_MOST: usize = 65_536;
/// Most answers that wait for their requests.
const EARLY_AT_MOST: usize = 64;
/// Most requests of one transaction.
const TOGETHER_AT_MOST: usize = 4096;
/// So much earlier than its request an answer may come, nanoseconds.
const EARLY: u64 = 50_000_000;

/// Something done with locks that waits for its answer.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub deed: Deed,
    /// When it was asked for, and by which thread.
    pub at: (u64, Thread),
    /// The database at that time.
    pub db: Option<u32>,
    /// That it was asked for has been told.
    pub announced: bool,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub enum Pending {
    /// So many of no interest.
    Dull(u32),
    /// Something done with locks.
    Deed(Box<Asked>),
    /// Another database; where the server refuses, it is this one still.
    Select(Option<u32>),
    /// How many have subscribed to a channel.
    Subscribers(Box<[u8]>),
    /// Channels are subscribed to, each of which is answered.
    Subscribe(usize),
    /// How the cluster is made up.
    Cluster,
    /// A transaction: what is done with locks in it, by its place.
    Exec(Vec<Option<Box<Asked>>>),
}

/// Whether answers come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    /// To every request.
    #[default]
    On,
    /// To none.
    Off,
    /// Not to the next one.
    Skip,
}

/// A connection.
#[derive(Debug)]
pub struct Talk {
    /// Which.
    pub connection: Connection,
    /// What is sent, in messages.
    pub asks: Flow,
    /// The request on its way.
    pub request: Request,
    /// What is received, in messages.
    pub tells: Flow,
    /// The answer on its way.
    pub answer: Answer,
    /// It is known which answer is to which request.
    pub sound: bool,
    /// It was so before.
    heard: bool,
    /// The database, where known.
    pub db: Option<u32>,
    /// Whether answers come.
    pub answers: Answers,
    /// The server speaks unasked: nothing can be paired.
    pub stream: bool,
    /// What the connection is called.
    pub name: Box<[u8]>,
    /// What is held back by `MULTI`.
    pub together: Option<Vec<Option<Box<Asked>>>>,
    owed: VecDeque<Pending>,
    early: VecDeque<(u64, Thread, Answer)>,
    /// When bytes came that nobody was owed.
    hasty: Option<u64>,
}

impl Talk {
    /// A connection that begins, or that is joined.
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            asks: Flow::default(),
            request: Request::default(),
            tells: Flow::default(),
            answer: Answer::default(),
            sound: !connection.joined,
            heard: false,
            db: (!connection.joined).then_some(0),
            answers: Answers::On,
            stream: false,
            name: Box::default(),
            together: None,
            owed: VecDeque::new(),
            early: VecDeque::new(),
            hasty: None,
        }
    }

    /// A request is sent while no answer is owed: everything begins anew.
    pub fn settle(&mut self, now: u64, ears: &mut Ears) {
        let soon = self.hasty.is_some_and(|hasty| hasty.saturating_add(EARLY) > now);
        if !(self.sound && soon) {
            self.tells.restart();
            self.answer.clear();
            ears.unpaired += self.early.len() as u64;
            self.early.clear();
            self.hasty = None;
        }
        self.asks.restart();
        self.request.clear();
        self.give_up(ears);
        if !self.sound {
            self.together = None;
            ears.resumed += u64::from(self.heard || self.connection.joined);
        }
        self.sound = true;
    }

    /// Nothing can be made of what comes until everything begins anew.
    pub fn lose(&mut self, ears: &mut Ears) {
        self.heard = true;
        self.sound = false;
        self.give_up(ears);
        self.together = None;
        self.early.clear();
        self.hasty = None;
    }

    fn give_up(&mut self, ears: &mut Ears) {
        let deeds = self.owed.iter().filter(|pending| !matches!(pending, Pending::Dull(_)));
        ears.unpaired += deeds.count() as u64;
        self.owed.clear();
    }

    /// A request was sent. Gives back an answer that came before it, and the request again.
    pub fn owe(
        &mut self,
        pending: Pending,
        ears: &mut Ears,
    ) -> Option<(Pending, u64, Thread, Answer)> {
        match self.answers {
            Answers::On => {}
            Answers::Off => return None,
            Answers::Skip => {
                self.answers = Answers::On;
                return None;
            }
        }
        if self.owed.is_empty()
            && let Some((time, thread, answer)) = self.early.pop_front()
        {
            self.hasty = self.early.front().map(|(time, ..)| *time);
            return Some((pending, time, thread, answer));
        }
        let full = self.owed.len() >= OWED_AT_MOST;
        match (self.owed.back_mut(), &pending) {
            (Some(Pending::Dull(count)), Pending::Dull(more)) if *count < u32::MAX - more => {
                *count += more;
            }
            _ if full => {
                ears.evicted += 1;
                self.lose(ears);
            }
            _ => self.owed.push_back(pending),
        }
        None
    }

    /// A request is put into the transaction; false where there is none.
    pub fn put_together(&mut self, asked: Option<Box<Asked>>) -> Option<Box<Asked>> {
        match &mut self.together {
            Some(together) if together.len() < TOGETHER_AT_MOST => {
                together.push(asked);
                None
            }
            _ => asked,
        }
    }

    /// Whether an answer is something that nobody asked for. Confirmations of subscriptions are
    /// told from it, and taken off what is owed.
    pub fn is_news(&mut self, answer: &Answer) -> bool {
        let Value::Text(word) = answer.items().next().unwrap_or(Value::Nil) else {
            return answer.is_pushed();
        };
        // Confirmations end with a number, which lists of strings that were asked for do not.
        let numbered = matches!(answer.items().nth(2), Some(Value::Number(_)));
        let begun = numbered && matches!(word, b"subscribe" | b"psubscribe" | b"ssubscribe");
        if begun && let Some(Pending::Subscribe(count)) = self.owed.front_mut() {
            *count -= 1;
            if *count == 0 {
                self.owed.pop_front();
            }
            return true;
        }
        let ended = matches!(word, b"unsubscribe" | b"punsubscribe" | b"sunsubscribe");
        let message = matches!(word, b"message" | b"pmessage" | b"smessage");
        // No command that is answered with a list can be asked on a connection with subscriptions.
        let asked = !matches!(self.owed.front(), None | Some(Pending::Subscribe(_)));
        answer.is_pushed() || begun || (ended && numbered) || (message && !asked)
    }

    /// Which request an answer is to.
    pub fn pair(&mut self) -> Option<Pending> {
        match self.owed.front_mut()? {
            Pending::Dull(count) if *count > 1 => {
                *count -= 1;
                Some(Pending::Dull(1))
            }
            _ => self.owed.pop_front(),
        }
    }

    /// An answer came that nobody asked for so far.
    pub fn keep(&mut self, time: u64, thread: Thread, answer: &Answer, ears: &mut Ears) {
        if self.early.len() >= EARLY_AT_MOST {
            ears.unpaired += 1;
            return;
        }
        self.early.push_back((time, thread, answer.clone()));
    }

    /// Bytes were received; notes whether anybody was owed any.
    pub fn received(&mut self, time: u64) {
        if self.owed.is_empty() && self.hasty.is_none() {
            self.hasty = Some(time);
        } else if !self.owed.is_empty() && self.early.is_empty() {
            self.hasty = None;
        }
    }

    /// Gives up answers that nobody asked for, and hands out what was asked long ago.
    pub fn overdue(&mut self, now: u64, ears: &mut Ears) -> impl Iterator<Item = &mut Asked> {
        while self.early.front().is_some_and(|(time, ..)| time.saturating_add(EARLY) <= now) {
            self.early.pop_front();
            ears.unpaired += 1;
        }
        self.owed.iter_mut().filter_map(move |pending| match pending {
            Pending::Deed(asked) if !asked.announced && asked.at.0.saturating_add(EARLY) <= now => {
                Some(&mut **asked)
            }
            _ => None,
        })
    }

    /// Whether a tick has to look at it.
    pub fn is_waiting(&self) -> bool {
        !self.early.is_empty()
            || self.owed.iter().any(|pending| matches!(pending, Pending::Deed(_)))
    }

    /// Commands that change what the following ones mean. `None`: no answer is owed.
    pub fn change(&mut self, meaning: Meaning<'_>) -> Option<Pending> {
        match meaning {
            Meaning::Select(db) => Some(Pending::Select(std::mem::replace(&mut self.db, db))),
            Meaning::Multi => {
                self.owe(Pending::Dull(1), &mut Ears::default());
                self.together = Some(Vec::new());
                None
            }
            Meaning::Exec => Some(match self.together.take() {
                Some(all) => Pending::Exec(all),
                None => Pending::Dull(1),
            }),
            Meaning::Discard => {
                self.together = None;
                Some(Pending::Dull(1))
            }
            Meaning::Mute(all) => {
                self.answers = if all { Answers::Off } else { Answers::Skip };
                None
            }
            Meaning::Unmute => {
                self.answers = Answers::On;
                Some(Pending::Dull(1))
            }
            Meaning::Name(name) => {
                self.name = name.into();
                Some(Pending::Dull(1))
            }
            Meaning::Reset => {
                (self.together, self.db, self.answers) = (None, Some(0), Answers::On);
                self.name = Box::default();
                Some(Pending::Dull(1))
            }
            Meaning::Stream => {
                self.stream = true;
                None
            }
            _ => Some(Pending::Dull(1)),
        }
    }
}
