//! The entries of a roster as text in pieces: copied whole into a frame, changed one by one.

use std::ops::Range;

/// No entry is added to a segment of this many bytes or more. A change moves what is behind it in
/// its segment, a frame copies segment by segment: pieces of some 1.6 KB are copied twice as fast
/// as those of 2 to 10 KB, for which `memcpy` takes an instruction that is slow where source and
/// target are aligned differently.
const FULL: usize = 1536;

/// Two neighbours of no more bytes than this together become one.
const FEW: usize = FULL / 2;

/// Entries in the order of their numbers, which only rise: a new one goes to the end.
#[derive(Default)]
pub(super) struct Segments {
    /// None is empty.
    segments: Vec<Segment>,
    text_len: usize,
}

#[derive(Default)]
struct Segment {
    /// Every entry with a comma before it.
    text: String,
    entries: Vec<Entry>,
}

struct Entry {
    number: u64,
    /// Where the next entry's comma is.
    end: usize,
}

impl Segment {
    /// Where an entry is in the text, without its comma.
    fn range(&self, index: usize) -> Range<usize> {
        let comma = index.checked_sub(1).map_or(0, |before| self.entries[before].end);
        comma + 1..self.entries[index].end
    }

    fn index(&self, number: u64) -> usize {
        let found = self.entries.binary_search_by_key(&number, |entry| entry.number);
        found.expect("an entry that was pushed and not removed")
    }

    fn push(&mut self, number: u64, json: &str) {
        self.text.push(',');
        self.text.push_str(json);
        self.entries.push(Entry { number, end: self.text.len() });
    }

    fn append(&mut self, next: Self) {
        let at = self.text.len();
        self.text.push_str(&next.text);
        let entries = next.entries.into_iter();
        self.entries.extend(entries.map(|entry| Entry { end: at + entry.end, ..entry }));
    }
}

impl Segments {
    /// The bytes of the whole list: its entries and the commas between them.
    pub(super) fn list_len(&self) -> usize {
        self.text_len.saturating_sub(1)
    }

    /// The whole list, in pieces of [`list_len`](Self::list_len) bytes together.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &str> {
        // The very first entry has no comma before it.
        let texts = self.segments.iter().map(|segment| &*segment.text).enumerate();
        texts.map(|(i, text)| if i == 0 { &text[1..] } else { text })
    }

    /// The entries one by one.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().flat_map(|segment| {
            (0..segment.entries.len()).map(|index| &segment.text[segment.range(index)])
        })
    }

    /// Adds an entry whose number is higher than all before.
    pub(super) fn push(&mut self, number: u64, json: &str) {
        if self.segments.last().is_none_or(|last| last.text.len() >= FULL) {
            self.segments.push(Segment::default());
        }
        let last = self.segments.last_mut().expect("there is one now");
        debug_assert!(last.entries.last().is_none_or(|entry| entry.number < number));
        last.push(number, json);
        self.text_len += 1 + json.len();
    }

    pub(super) fn get(&self, number: u64) -> &str {
        let segment = &self.segments[self.segment(number)];
        &segment.text[segment.range(segment.index(number))]
    }

    /// Gives an entry another text, where it is.
    pub(super) fn replace(&mut self, number: u64, json: &str) {
        let at = self.segment(number);
        let segment = &mut self.segments[at];
        let index = segment.index(number);
        let old = segment.range(index);
        self.text_len = self.text_len - old.len() + json.len();
        for entry in &mut segment.entries[index..] {
            entry.end = entry.end - old.len() + json.len();
        }
        // Two moves of what is behind it instead of `replace_range`, which copies byte by byte.
        segment.text.drain(old.clone());
        segment.text.insert_str(old.start, json);
        self.merge_around(at);
    }

    pub(super) fn remove(&mut self, number: u64) {
        let at = self.segment(number);
        let segment = &mut self.segments[at];
        let index = segment.index(number);
        let old = segment.range(index);
        let with_comma = old.start - 1..old.end;
        self.text_len -= with_comma.len();
        for entry in &mut segment.entries[index + 1..] {
            entry.end -= with_comma.len();
        }
        segment.entries.remove(index);
        segment.text.drain(with_comma);
        if segment.entries.is_empty() {
            self.segments.remove(at);
        }
        self.merge_around(at);
    }

    /// Which segment an entry is in.
    fn segment(&self, number: u64) -> usize {
        let behind = self.segments.partition_point(|segment| segment.entries[0].number <= number);
        behind - 1
    }

    /// Makes one of a segment and its neighbours where they hold few, so that there are never many
    /// more segments than entries fill, however many leave or shrink.
    fn merge_around(&mut self, at: usize) {
        for first in [at, at.saturating_sub(1)] {
            let Some([one, two]) = self.segments.get(first..first + 2) else { continue };
            if one.text.len() + two.text.len() <= FEW {
                let next = self.segments.remove(first + 1);
                self.segments[first].append(next);
            }
        }
    }

    #[cfg(test)]
    fn check(&self) {
        let lens = self.segments.iter().map(|segment| segment.text.len());
        assert_eq!(lens.sum::<usize>(), self.text_len);
        let mut before = None;
        for segment in &self.segments {
            assert_eq!(segment.entries.last().unwrap().end, segment.text.len());
            for entry in &segment.entries {
                assert!(before < Some(entry.number));
                before = Some(entry.number);
            }
        }
        assert!(self.segments.windows(2).all(|two| two[0].text.len() + two[1].text.len() > FEW));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_leave_segments_stay_filled() {
        let mut segments = Segments::default();
        let count = 10_000;
        (0..count).for_each(|number| segments.push(number, &format!("{{\"n\":{number}}}")));
        assert!(segments.segments.len() <= segments.text_len / FULL + 1);
        // Every one but each hundredth leaves, in an order that is none.
        let leaving = (0..count).map(|i| i * 7919 % count).filter(|number| number % 100 != 0);
        for (i, number) in leaving.enumerate() {
            segments.remove(number);
            if i % 97 == 0 {
                segments.check();
            }
        }
        segments.check();
        assert_eq!(segments.iter().count(), 100);
        assert!(segments.segments.len() <= 2 * segments.text_len / FEW + 1);
        let expected: Vec<_> = (0..100).map(|n| format!("{{\"n\":{}}}", n * 100)).collect();
        assert_eq!(segments.pieces().collect::<String>(), expected.join(","));
        assert_eq!(segments.list_len(), expected.join(",").len());
        (0..100).for_each(|n| segments.remove(n * 100));
        assert_eq!((segments.list_len(), segments.pieces().count()), (0, 0));
    }

    #[test]
    fn an_entry_may_grow_and_shrink_where_it_is() {
        let mut segments = Segments::default();
        (0..3).for_each(|number| segments.push(number, "{}"));
        segments.replace(1, r#"{"text":"much longer"}"#);
        segments.check();
        assert_eq!(segments.get(1), r#"{"text":"much longer"}"#);
        assert_eq!(segments.pieces().collect::<String>(), r#"{},{"text":"much longer"},{}"#);
        segments.replace(1, "{}");
        segments.check();
        assert_eq!(segments.pieces().collect::<String>(), "{},{},{}");

        // Larger than a segment, several of them, and small again.
        let large = format!("{{\"text\":\"{}\"}}", "x".repeat(3 * FULL));
        for number in 0..3 {
            segments.replace(number, &large);
            segments.push(3 + number, &large);
            segments.check();
        }
        assert_eq!(segments.segments.len(), 4);
        for number in 0..6 {
            segments.replace(number, "{}");
            segments.check();
        }
        assert_eq!(segments.segments.len(), 1);
        assert_eq!(segments.pieces().collect::<String>(), "{},{},{},{},{},{}");
    }
}
