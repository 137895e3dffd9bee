//! Conversations of HTTP/1.1, cut and broken.

use super::*;

type Line<'a> = (u64, &'a str, &'a str);

fn hear(talk: &mut Talk, lines: &[Line<'_>], size: usize) -> Vec<String> {
    let mut heard = Vec::new();
    for (time, way, bytes) in lines {
        for (at, bytes) in bytes.as_bytes().chunks(size).enumerate() {
            let sent = way.starts_with('>');
            let settled = *way == ">!" && at == 0;
            let missing = if *way == "?" && at == 0 { 10 } else { 0 };
            let (time, thread) = (*time * 1_000_000, Thread::default());
            let piece = Piece { time, thread, sent, bytes, missing, settled };
            talk.piece(&piece, |_, target| target != "/no", &mut heard);
        }
    }
    let text = |body: &Option<Vec<u8>>| {
        body.as_ref().map_or("-".into(), |body| String::from_utf8_lossy(body).into_owned())
    };
    let line = |heard: &Heard| {
        let what = match &heard.what {
            What::Asked { method, target, body } => format!("{method} {target} {}", text(body)),
            What::Chunk(chunk) => format!("+ {}", String::from_utf8_lossy(chunk)),
            What::Answered { status, body, .. } => format!("= {status} {}", text(body)),
        };
        format!("{} #{} {what}", heard.time / 1_000_000, heard.request)
    };
    heard.iter().map(line).collect()
}

const ASK: &str = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntrue";
const NO: &str = "GET /no HTTP/1.1\r\n\r\n";

#[test]
fn requests_and_answers_are_paired_wherever_they_are_cut() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab\n\r\n2;x=y\r\ncd\r\n0\r\nA: b\r\n\r\n";
    let two = [ASK, NO, ASK].concat();
    let answers = [chunked, ANSWER, "HTTP/1.1 100 Continue\r\n\r\n", ANSWER].concat();
    let lines: &[Line<'_>] = &[
        (1, ">!", &two),
        (2, "<", &answers),
        (3, ">!", "HEAD /h HTTP/1.1\r\n\r\n"),
        (4, "<", "HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\n"),
        (5, ">!", "PUT /last HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
        (6, "<", ANSWER),
    ];
    for size in [1, 2, 3, 7, 1000] {
        let mut talk = Talk::new(false);
        let heard = hear(&mut talk, lines, size);
        assert_eq!(
            heard,
            [
                "1 #0 POST /a hi",
                "1 #2 POST /a hi",
                "2 #0 + ab\n",
                "2 #0 + cd",
                "2 #0 = 200 ab\ncd",
                "2 #2 = 200 true",
                "3 #3 HEAD /h ",
                "4 #3 = 404 ",
                "5 #4 PUT /last ",
                "6 #4 = 200 true",
            ],
            "pieces of {size}"
        );
        assert_eq!((talk.malformed, talk.unpaired, talk.resumed), (0, 0, 0));
    }
}

#[test]
fn what_is_missing_is_waited_out_until_a_request_begins() {
    let mut talk = Talk::new(false);
    let lines: &[Line<'_>] =
        &[(1, ">!", ASK), (2, "?", "xx"), (3, "<", ANSWER), (4, ">!", ASK), (5, "<", ANSWER)];
    let heard = hear(&mut talk, lines, 1000);
    assert_eq!(heard, ["1 #0 POST /a hi", "4 #1 POST /a hi", "5 #1 = 200 true"]);
    assert_eq!((talk.resumed, talk.unpaired), (1, 1));
}

#[test]
fn a_late_listener_waits_for_a_request_to_begin() {
    let mut talk = Talk::new(true);
    let lines: &[Line<'_>] = &[(1, ">", "hi"), (2, "<", ANSWER), (3, ">!", ASK), (4, "<", ANSWER)];
    assert_eq!(hear(&mut talk, lines, 1), ["3 #0 POST /a hi", "4 #0 = 200 true"]);
    assert_eq!((talk.malformed, talk.unpaired), (0, 0));
}

#[test]
fn an_answer_may_be_heard_a_little_before_its_request() {
    let mut talk = Talk::new(false);
    let lines: &[Line<'_>] = &[(10, "<", ANSWER), (20, ">!", ASK)];
    assert_eq!(hear(&mut talk, lines, 9), ["20 #0 POST /a hi", "10 #0 = 200 true"]);
    let lines: &[Line<'_>] = &[(30, "<", ANSWER), (90, ">!", ASK)];
    assert_eq!(hear(&mut talk, lines, 9), ["90 #1 POST /a hi"]);
    assert_eq!(talk.unpaired, 1);
}

#[test]
fn long_bodies_are_passed_over_and_nonsense_is_counted() {
    let mut talk = Talk::new(false);
    let long =
        format!("POST /a HTTP/1.1\r\nContent-Length: 100000\r\n\r\n{}{ASK}", "x".repeat(100_000));
    let heard = hear(&mut talk, &[(1, ">!", &long)], 4096);
    assert_eq!(heard, ["1 #0 POST /a -", "1 #1 POST /a hi"]);
    hear(&mut talk, &[(2, ">", "\x00\x01")], 1);
    assert_eq!(talk.malformed, 1);
    assert_eq!(hear(&mut talk, &[(3, ">!", ASK)], 1), ["3 #2 POST /a hi"]);
}
