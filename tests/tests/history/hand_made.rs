//! The checker itself: one history by hand that holds, and one fault at a time.

use nexus_tests::history::{
    Answer, Asked, Entry, Findings, Flaw, Glance, History, Journal, Logged, Name, Record, Row,
    Rule, Span, check, digest,
};

/// The writer's journal, and the places of its records.
const WRITER: usize = 0;
const READER: usize = 1;
const SUBSCRIBER: usize = 2;
const ROWS: usize = 3;

fn stream(id: &str) -> (String, String) {
    ("thing".to_owned(), id.to_owned())
}

fn asked(tag: &str, id: &str, expected: Option<u64>, events: usize) -> Asked {
    Asked {
        tag: tag.to_owned(),
        stream: stream(id),
        expected,
        contents: (0..events).map(|event| says(tag, event)).collect(),
        guards: Vec::new(),
        not_before: None,
        names: Vec::new(),
        flaw: None,
    }
}

fn says(tag: &str, event: usize) -> u64 {
    digest(&[tag, &event.to_string()])
}

fn entry(position: u64, id: &str, sequence: u64, tag: &str, event: usize) -> Entry {
    Entry {
        position,
        stream: stream(id),
        sequence,
        recorded_at: 100 + position.cast_signed(),
        tag: tag.to_owned(),
        content: says(tag, event),
    }
}

fn append(invoked: u64, returned: u64, asked: Asked, answer: Answer) -> Record {
    Record::Append {
        span: Span { invoked, returned },
        asked: Box::new(asked),
        answer,
    }
}

fn glances(log: &[Logged], at: u64, from: usize, to: usize) -> Vec<Glance> {
    log[from - 1..to]
        .iter()
        .map(|logged| Glance {
            at,
            position: logged.entry.position,
            print: logged.entry.print(),
        })
        .collect()
}

fn journal(client: &str, records: Vec<Record>) -> Journal {
    Journal {
        client: client.to_owned(),
        records,
    }
}

fn the_log() -> Vec<Logged> {
    let entries = [
        entry(1, "s", 1, "a", 0),
        entry(2, "s", 2, "b", 0),
        entry(3, "s", 3, "b", 1),
        entry(4, "t", 1, "c", 0),
        entry(5, "u", 1, "d", 0),
        entry(6, "v", 1, "j", 0),
    ];
    entries
        .map(|entry| Logged {
            row: Some(entry.position * 1_000),
            entry,
        })
        .to_vec()
}

/// Five appends that are in the log, and every kind of refusal.
fn written(log: &[Logged]) -> Vec<Record> {
    let recorded = |positions: std::ops::RangeInclusive<usize>| {
        let entries = log[positions.start() - 1..*positions.end()].iter();
        Answer::Recorded(entries.map(|logged| logged.entry.clone()).collect())
    };
    let take = |asked| Asked {
        names: vec![Name::Take("n".to_owned())],
        ..asked
    };
    let guarded = |asked, at| Asked {
        guards: vec![(stream("s"), at)],
        ..asked
    };
    vec![
        append(10, 20, asked("a", "s", Some(0), 1), recorded(1..=1)),
        append(30, 40, asked("b", "s", Some(1), 2), recorded(2..=3)),
        append(35, 45, take(asked("c", "t", Some(0), 1)), recorded(4..=4)),
        append(
            50,
            60,
            guarded(asked("d", "u", None, 1), 3),
            recorded(5..=5),
        ),
        append(
            50,
            55,
            asked("e", "s", Some(1), 1),
            Answer::Conflict { actual: 3 },
        ),
        append(
            50,
            60,
            guarded(asked("f", "u", None, 1), 1),
            Answer::GuardMoved {
                stream_type: "thing".to_owned(),
            },
        ),
        append(
            50,
            60,
            take(asked("g", "v", Some(0), 1)),
            Answer::NameTaken {
                owner: "t".to_owned(),
            },
        ),
        append(
            50,
            60,
            Asked {
                not_before: Some(9_999),
                ..asked("h", "v", Some(0), 1)
            },
            Answer::TooEarly { now: 105 },
        ),
        append(
            50,
            60,
            Asked {
                flaw: Some(Flaw::Unfoldable),
                ..asked("i", "v", Some(0), 1)
            },
            Answer::Refused("no".to_owned()),
        ),
        append(
            70,
            80,
            asked("j", "v", Some(0), 1),
            Answer::Unknown("cut".to_owned()),
        ),
        append(
            70,
            80,
            asked("k", "w", Some(0), 1),
            Answer::Unknown("cut".to_owned()),
        ),
        append(
            70,
            80,
            asked("l", "w", Some(0), 1),
            Answer::NotDone("away".to_owned()),
        ),
    ]
}

/// Six events of five appends, readers of every kind.
fn good() -> History {
    let log = the_log();
    let read = |invoked, returned, to| Record::Read {
        span: Span { invoked, returned },
        from: 1,
        limit: 10,
        seen: glances(&log, returned, 1, to),
    };
    let followed = |at, from: usize, to| Record::Followed {
        from: from as u64,
        seen: glances(&log, at, from, to),
    };
    let row = |head, print| Record::Row {
        span: Span {
            invoked: 46,
            returned: 48,
        },
        stream: stream("s"),
        row: Some(Row {
            sequence: 3,
            position: 3,
            print,
        }),
        head,
    };
    let journals = vec![
        journal("writer", written(&log)),
        journal("reader", vec![read(46, 48, 4), read(90, 95, 6)]),
        journal("subscriber", vec![followed(90, 1, 3), followed(91, 4, 6)]),
        journal("rows", vec![row(None, Some(3_000)), row(Some(4), None)]),
    ];
    History { journals, log }
}

/// The append of a tag.
fn of<'a>(history: &'a mut History, wanted: &str) -> (&'a mut Span, &'a mut Asked, &'a mut Answer) {
    let records = history.journals[WRITER].records.iter_mut();
    records
        .filter_map(|record| match record {
            Record::Append {
                span,
                asked,
                answer,
            } => Some((span, &mut **asked, answer)),
            _ => None,
        })
        .find(|(_, asked, _)| asked.tag == wanted)
        .expect("an append")
}

fn seen(history: &mut History, journal: usize, record: usize) -> &mut Vec<Glance> {
    match &mut history.journals[journal].records[record] {
        Record::Read { seen, .. } | Record::Followed { seen, .. } => seen,
        other => panic!("{other:?} is no reader's"),
    }
}

fn row(history: &mut History, record: usize) -> &mut Row {
    match &mut history.journals[ROWS].records[record] {
        Record::Row { row: Some(row), .. } => row,
        other => panic!("{other:?} has no row"),
    }
}

/// The good history with one fault breaks this rule, and says so.
#[track_caller]
fn breaks(rule: Rule, fault: impl FnOnce(&mut History)) {
    let mut history = good();
    fault(&mut history);
    let violation = check(&history).expect_err("a bad history is refused");
    assert_eq!(violation.rule, rule, "{violation}");
    assert!(
        violation.to_string().starts_with(&format!("{rule}: ")),
        "{violation}"
    );
}

#[test]
fn a_history_that_holds_is_accepted_and_counted() {
    let expected = Findings {
        events: 6,
        recorded: 4,
        unknown: 2,
        unknown_landed: 1,
        conflicts: 1,
        guards: 1,
        early: 1,
        names: 1,
        refused: 1,
        not_done: 1,
        seen: 16,
        subscriptions: 2,
        rows: 2,
    };
    assert_eq!(check(&good()), Ok(expected));
}

#[test]
fn a_lost_append_is_found() {
    breaks(Rule::NothingLost, |history| {
        of(history, "j").0.invoked = 55;
        history.log.remove(4);
        history.log[4].entry.position = 5;
    });
    breaks(Rule::NothingLost, |history| history.log.truncate(4));
    breaks(Rule::NothingLost, |history| {
        *of(history, "b").2 = Answer::Recorded(vec![the_log()[1].entry.clone()]);
    });
}

#[test]
fn a_duplicate_is_found() {
    breaks(Rule::NoDuplicate, |history| {
        history.log.push(Logged {
            entry: entry(7, "u", 2, "d", 0),
            row: None,
        });
    });
    breaks(Rule::NoDuplicate, |history| {
        history.log.push(Logged {
            entry: entry(7, "v", 2, "j", 0),
            row: None,
        });
    });
}

#[test]
fn an_order_that_is_not_the_order_of_the_commits_is_found() {
    breaks(Rule::RealTime, |history| {
        history.log[4].entry = entry(5, "v", 1, "j", 0);
        history.log[5].entry = entry(6, "u", 1, "d", 0);
        *of(history, "d").2 = Answer::Recorded(vec![entry(6, "u", 1, "d", 0)]);
    });
}

#[test]
fn a_hole_is_found() {
    breaks(Rule::Gapless, |history| history.log[5].entry.position = 7);
    breaks(Rule::Sequences, |history| history.log[2].entry.sequence = 4);
    breaks(Rule::Time, |history| history.log[2].entry.recorded_at = 1);
}

#[test]
fn a_phantom_is_found() {
    breaks(Rule::NoPhantom, |history| {
        history.log.push(Logged {
            entry: entry(7, "u", 2, "nobody", 0),
            row: None,
        });
    });
}

#[test]
fn what_failed_and_is_there_all_the_same_is_found() {
    for failed in ["e", "f", "l"] {
        breaks(Rule::NothingUndead, |history| {
            let (_, asked, _) = of(history, failed);
            asked.expected = None;
            asked.guards.clear();
            let id = asked.stream.1.clone();
            let sequence = match id.as_str() {
                "s" => 4,
                "u" => 2,
                _ => 1,
            };
            history.log.push(Logged {
                entry: entry(7, &id, sequence, failed, 0),
                row: None,
            });
        });
    }
}

#[test]
fn an_altered_or_a_torn_append_is_found() {
    breaks(Rule::Unaltered, |history| history.log[3].entry.content += 1);
    breaks(Rule::Unaltered, |history| {
        history.log[3].entry.stream = stream("other");
    });
    breaks(Rule::Together, |history| {
        history.log[2].entry = entry(3, "t", 1, "c", 0);
        history.log[3].entry = entry(4, "s", 3, "b", 1);
    });
}

#[test]
fn a_reader_that_misses_an_event_or_gets_one_twice_is_found() {
    breaks(Rule::ReadersInOrder, |history| {
        seen(history, READER, 1).remove(2);
    });
    breaks(Rule::ReadersInOrder, |history| {
        seen(history, SUBSCRIBER, 0).remove(0);
    });
    breaks(Rule::ReadersInOrder, |history| {
        let again = seen(history, SUBSCRIBER, 0)[1];
        seen(history, SUBSCRIBER, 0).insert(1, again);
    });
    breaks(Rule::ReadersInOrder, |history| {
        history.journals[SUBSCRIBER].records.remove(0);
        let first = Record::Followed {
            from: 1,
            seen: Vec::new(),
        };
        history.journals[SUBSCRIBER].records.insert(0, first);
    });
    breaks(Rule::ReadersTrue, |history| {
        seen(history, SUBSCRIBER, 1)[1].print += 1;
    });
    breaks(Rule::ReadersTrue, |history| {
        let mut beyond = seen(history, READER, 1)[5];
        beyond.position = 7;
        seen(history, READER, 1).push(beyond);
    });
}

#[test]
fn a_read_of_what_is_gone_or_not_yet_there_is_found() {
    breaks(Rule::NotStale, |history| {
        seen(history, READER, 0).truncate(3);
    });
    breaks(Rule::RealTime, |history| {
        let read = glances(&the_log(), 48, 1, 5);
        *seen(history, READER, 0) = read;
    });
}

#[test]
fn a_stale_or_wrong_read_model_is_found() {
    for record in [0, 1] {
        breaks(Rule::RowCurrent, |history| {
            *row(history, record) = Row {
                sequence: 1,
                position: 1,
                print: None,
            };
        });
        breaks(Rule::RowCurrent, |history| {
            row(history, record).sequence = 4;
        });
        breaks(Rule::RowTrue, |history| row(history, record).position = 2);
    }
    breaks(Rule::RowTrue, |history| row(history, 0).print = Some(1));
    breaks(Rule::NotStale, |history| head(history, 3));
    breaks(Rule::RealTime, |history| head(history, 5));
}

fn head(history: &mut History, newest: u64) {
    if let Record::Row { head, .. } = &mut history.journals[ROWS].records[1] {
        *head = Some(newest);
    }
}

#[test]
fn an_append_that_was_accepted_against_its_conditions_is_found() {
    breaks(Rule::AcceptedRightly, |history| {
        of(history, "b").1.expected = Some(0);
    });
    breaks(Rule::AcceptedRightly, |history| {
        of(history, "d").1.guards[0].1 = 2;
    });
    breaks(Rule::AcceptedRightly, |history| {
        of(history, "d").1.not_before = Some(106);
    });
    breaks(Rule::AcceptedRightly, |history| {
        of(history, "d").1.names = vec![Name::Take("n".to_owned())];
    });
    breaks(Rule::AcceptedRightly, |history| {
        of(history, "d").1.flaw = Some(Flaw::KeyThere);
    });
}

#[test]
fn a_refusal_without_a_reason_is_found() {
    // It never stood there; it stood there, but not any more; it stood where it was expected.
    for actual in [4, 1, 0] {
        breaks(Rule::RefusedRightly, |history| {
            let (_, asked, answer) = of(history, "e");
            asked.expected = Some(if actual == 0 { 0 } else { 2 });
            *answer = Answer::Conflict { actual };
        });
    }
    // The conflicting append had not been asked for yet.
    breaks(Rule::RefusedRightly, |history| {
        *of(history, "e").0 = Span {
            invoked: 22,
            returned: 28,
        };
    });
    breaks(Rule::RefusedRightly, |history| {
        of(history, "f").1.guards[0].1 = 3;
    });
    breaks(Rule::RefusedRightly, |history| {
        of(history, "g").1.names = vec![Name::Take("free".to_owned())];
    });
    breaks(Rule::RefusedRightly, |history| {
        of(history, "h").1.not_before = Some(105);
    });
    breaks(Rule::RefusedRightly, |history| {
        *of(history, "h").2 = Answer::TooEarly { now: 200 };
    });
    breaks(Rule::RefusedRightly, |history| {
        of(history, "i").1.flaw = None;
    });
}
