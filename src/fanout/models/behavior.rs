//! Values that are replaced, and replayed to late subscribers.

use loom::thread;

use super::super::BehaviorSubject;
use super::{Observer, Probe, Record, model, model_within};

/// A value that its publisher writes, and the thread that frees it writes again.
struct Value(usize, Probe);

impl Value {
    fn new(number: usize, record: &Record) -> Self {
        Self(number, record.probe(0))
    }
}

struct Listener(Record);

impl Observer<Value> for Listener {
    fn notify(&self, Value(number, probe): &Value) {
        probe.written.with(|_| ());
        self.0.received.lock().unwrap().push(*number);
    }
}

type Topic = BehaviorSubject<Value, Listener>;

fn topic() -> (Topic, Record) {
    let record = Record::default();
    (Topic::typed(Value::new(1, &record)), record)
}

#[test]
fn replay_vs_publish() {
    model(|| {
        let (topic, record) = topic();
        let publisher = thread::spawn({
            let (topic, value) = (topic.clone(), Value::new(2, &record));
            move || topic.publish(value)
        });
        let kept = topic.subscribe_observer(Listener(record.clone())).unwrap();
        assert_eq!(topic.len(), 1);
        publisher.join().unwrap();
        let received = record.take();
        assert!(received == [1, 2] || received == [2], "{received:?}");
        assert_eq!(record.dropped(), 1);
        topic.publish(Value::new(3, &record));
        assert_eq!(record.take(), [3]);
        drop((topic, kept));
        assert_eq!(record.dropped(), 3);
    });
}

#[test]
fn replay_vs_two_publishes() {
    model(|| {
        let (topic, record) = topic();
        let publisher = thread::spawn({
            let (topic, record) = (topic.clone(), record.clone());
            move || {
                topic.publish(Value::new(2, &record));
                topic.publish(Value::new(3, &record));
            }
        });
        let kept = topic.subscribe_observer(Listener(record.clone())).unwrap();
        publisher.join().unwrap();
        let received = record.take();
        assert!(received.is_sorted() && received.last() == Some(&3), "{received:?}");
        assert!(received.windows(2).all(|two| two[0] != two[1]), "{received:?}");
        drop(kept);
    });
}

#[test]
fn replay_vs_two_publishers() {
    // A minute with 3.
    model_within(2, || {
        let (topic, record) = topic();
        let publishers = [2, 3].map(|number| {
            let (topic, value) = (topic.clone(), Value::new(number, &record));
            thread::spawn(move || topic.publish(value))
        });
        let kept = topic.subscribe_observer(Listener(record.clone())).unwrap();
        for publisher in publishers {
            publisher.join().unwrap();
        }
        let mut received = record.take();
        let latest = topic.value().unwrap().0;
        assert!(received.contains(&latest), "{received:?} without {latest}");
        received.sort_unstable();
        assert!(received.windows(2).all(|two| two[0] != two[1]), "{received:?}");
        drop(kept);
    });
}

#[test]
fn value_vs_publish() {
    model(|| {
        let (topic, record) = topic();
        let publisher = thread::spawn({
            let (topic, record) = (topic.clone(), record.clone());
            move || topic.publish(Value::new(2, &record))
        });
        let value = topic.value().unwrap();
        value.1.written.with(|_| ());
        assert!(value.0 == 1 || value.0 == 2);
        drop(value);
        publisher.join().unwrap();
        assert_eq!(topic.value().unwrap().0, 2);
    });
}
