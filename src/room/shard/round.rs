//! One round: reading the logs, and composing what each connection is sent.

use std::ops::Range;

use smallvec::SmallVec;

use super::seat::{Action, Command, NONE, Ready, SeatCommand, Taken};
use super::{
    Apart, Behind, List, SPARE_EVENTS, Seated, SeatedRoom, Shard, Status, UserKey, pair, push,
    push_single,
};
use crate::frame::{Form, WireFrame};
use crate::log::To;
use crate::outbox::{CloseReason, Policy};
use crate::ring::word::{before, distance};
use crate::sync::atomic::Ordering;

/// The frames of a room in one round.
#[derive(Default)]
pub(super) struct Frames {
    /// For members, by position.
    frames: Vec<MemberFrame>,
    /// For one member each.
    direct: Vec<WireFrame>,
    /// In the order in which they were given.
    commands: Vec<(u32, Command)>,
    /// The indices of those that are not for one of the users.
    except: Vec<(u32, u64)>,
    /// Their bytes, once for each audience and form.
    bytes: SmallVec<[FormBytes; 1]>,
}

struct MemberFrame {
    at: u32,
    frame: WireFrame,
    audience: u32,
    key: Option<u64>,
}

struct FormBytes {
    audience: u32,
    form: Form,
    bytes: Vec<u8>,
    /// The place before each frame, and that after the last one.
    places: Vec<Place>,
}

/// How much comes before a frame.
#[derive(Clone, Copy)]
struct Place {
    bytes: usize,
    frames: usize,
}

impl Frames {
    /// Drops the frames; their memory is kept for another round, up to a bound.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.frames.shrink_to(KEPT_FRAMES);
        self.direct.clear();
        self.direct.shrink_to(KEPT_FRAMES);
        // No memory is kept of these: it is that of the cursor's list.
        self.commands = Vec::new();
        self.except.clear();
        self.except.shrink_to(KEPT_FRAMES);
        self.bytes.truncate(KEPT_FORMS);
        for bytes in &mut self.bytes {
            bytes.places.clear();
            bytes.places.shrink_to(KEPT_FRAMES);
            bytes.bytes.clear();
            bytes.bytes.shrink_to(KEPT_BYTES);
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.frames.len()
    }

    /// The number of frames before the position at this distance from `base`.
    fn before(&self, base: u32, at: u32) -> usize {
        self.frames.partition_point(|frame| distance(base, frame.at) < at)
    }

    /// The parts of a range that are for this user.
    fn for_each_part(&self, range: Range<usize>, user: u64, mut each: impl FnMut(Range<usize>)) {
        let mut from = range.start;
        let first = self.except.partition_point(|(index, _)| (*index as usize) < from);
        for (index, except) in &self.except[first..] {
            let index = *index as usize;
            if index >= range.end {
                break;
            }
            if *except == user {
                each(from..index);
                from = index + 1;
            }
        }
        each(from..range.end);
    }

    /// The bytes for an audience in a form, if [`make`](Self::make) has made them.
    pub(super) fn bytes_for(&self, audience: u32, form: Form) -> Option<&[u8]> {
        Some(&self.made(audience, form)?.bytes)
    }

    fn made(&self, audience: u32, form: Form) -> Option<&FormBytes> {
        let is_it = |it: &&FormBytes| it.audience == audience && it.form == form;
        self.bytes.iter().find(is_it).filter(|it| !it.places.is_empty())
    }

    fn make(&mut self, audience: u32, form: Form) {
        if self.made(audience, form).is_some() {
            return;
        }
        let unused = self.bytes.iter().position(|it| it.places.is_empty());
        let at = unused.unwrap_or_else(|| {
            let (bytes, places) = (Vec::new(), Vec::new());
            self.bytes.push(FormBytes { audience, form, bytes, places });
            self.bytes.len() - 1
        });
        let made = &mut self.bytes[at];
        (made.audience, made.form) = (audience, form);
        let mut frames = 0;
        for frame in &self.frames {
            made.places.push(Place { bytes: made.bytes.len(), frames });
            if frame.audience & audience != 0 {
                made.bytes.extend_from_slice(frame.frame.bytes(form));
                frames += 1;
            }
        }
        made.places.push(Place { bytes: made.bytes.len(), frames });
    }

    /// All bytes for an audience in a form, which were made, and the places in them at which the frames of a
    /// range begin and end.
    fn run(&self, range: Range<usize>, audience: u32, form: Form) -> (&[u8], Place, Place) {
        let made = self.made(audience, form).expect("made with the membership");
        (&made.bytes, made.places[range.start], made.places[range.end])
    }

    /// The numbers of frames and bytes for an audience in a form; both 0 if they were not made.
    fn sizes(&self, audience: u32, form: Form) -> (u64, u64) {
        let last = self.made(audience, form).and_then(|made| made.places.last());
        last.map_or((0, 0), |last| (last.frames as u64, last.bytes as u64))
    }

    /// The frames of a range that are for the audience.
    pub(super) fn for_each(
        &self,
        range: Range<usize>,
        audience: u32,
        mut each: impl FnMut(&WireFrame, Option<u64>),
    ) {
        for frame in self.frames[range].iter().filter(|frame| frame.audience & audience != 0) {
            each(&frame.frame, frame.key);
        }
    }
}

/// The end of a read is this far from its base, what was read less.
const HORIZON: u32 = 1 << 29;

/// The most frames, forms and bytes of a form for which a [`Frames`] keeps memory.
const KEPT_FRAMES: usize = 1 << 10;
const KEPT_FORMS: usize = 4;
const KEPT_BYTES: usize = 256 << 10;

/// The most bytes that are joined for one connection alone, and in a round for all such connections.
const MOST_JOINED: usize = 256 << 10;
const MOST_JOINED_IN_ALL: usize = 4 << 20;

/// The order of an entry: commands take place before the entry at their position.
const LAST: u32 = u32::MAX;

/// Something that concerns one seat in a round. It is small, because events are sorted.
#[derive(Clone, Copy)]
pub(super) struct Event {
    seat: u32,
    /// [`NONE`]: it concerns no room.
    room: u32,
    /// The number of the membership.
    member: u32,
    /// The distance of its position from the base of the room's round.
    at: u32,
    /// Orders the events of one position.
    order: u32,
    /// Whether it comes after the rooms that the seat leaves.
    is_late: bool,
    kind: Kind,
}

/// With the index in the list of its kind.
#[derive(Clone, Copy)]
enum Kind {
    /// A frame for the seat, of no room.
    Push(u32),
    /// The membership as it was when the round began.
    Start(u32),
    Command(u32),
    /// A frame for this member alone.
    Direct(u32),
}

/// What events refer to that concerns no room's [`Frames`].
#[derive(Default)]
pub(super) struct Subjects {
    pushes: Vec<WireFrame>,
    starts: Vec<Start>,
}

#[derive(Clone, Copy)]
struct Start {
    user: u64,
    audience: u32,
}

impl Subjects {
    pub(super) fn clear(&mut self) {
        self.pushes.clear();
        self.pushes.shrink_to(SPARE_EVENTS);
        self.starts.clear();
        self.starts.shrink_to(SPARE_EVENTS);
    }
}

impl Event {
    fn new(seat: u32, room: u32, member: u32, kind: Kind) -> Self {
        Self { seat, room, member, at: 0, order: 0, is_late: false, kind }
    }

    /// Orders the events of a round: by seat, room and membership.
    const fn key(&self) -> (u64, u64, u32) {
        // No room comes first.
        let room = (self.is_late as u32) << 31 | self.room.wrapping_add(1);
        // As does a membership's start.
        let rank = match self.kind {
            Kind::Start(_) => 0,
            _ => self.at + 1,
        };
        (pair(self.seat, room), pair(self.member, rank), self.order)
    }
}

/// A part of what one seat is sent.
pub(super) enum Piece<'a> {
    Frame(&'a WireFrame),
    Frames { room: u32, frames: &'a Frames, range: Range<usize>, audience: u32 },
}

impl Piece<'_> {
    pub(super) fn for_each(&self, mut each: impl FnMut(&WireFrame, Option<u64>)) {
        match self {
            Piece::Frame(frame) => each(frame, None),
            Piece::Frames { frames, range, audience, .. } => {
                frames.for_each(range.clone(), *audience, each);
            }
        }
    }
}

impl SeatedRoom {
    /// Positions are compared by their distance from this one.
    fn base(&self) -> u32 {
        before(self.end, HORIZON)
    }
}

impl Shard {
    /// Reads what is new in the rooms that were listed.
    pub(super) fn read_rooms(&mut self) {
        while let Some(source) = self.ready.pop() {
            source.cursor.unlist();
            if source.cursor.is_attached() {
                self.read_room(source);
            }
        }
    }

    fn read_room(&mut self, source: Ready) {
        // Relaxed: only this shard uses it.
        let mut number = source.cursor.notify.room.load(Ordering::Relaxed);
        let is_new = number == NONE;
        if is_new {
            number = self.free_rooms.pop().unwrap_or_else(|| {
                self.rooms.push(SeatedRoom::default());
                self.rooms.len() as u32 - 1
            });
            source.cursor.notify.room.store(number, Ordering::Relaxed);
            self.rooms[number as usize].source = Some(source);
        }
        let room = &mut self.rooms[number as usize];
        let Some(Ready { log, cursor }) = &room.source else { return };
        room.frames = self.spare_frames.pop().unwrap_or_default();
        let (frames, events) = (&mut room.frames, &mut self.events);
        let first_event = events.len();
        let read = log.read(cursor, |at, entry| {
            let frame = &entry.frame;
            match &entry.to {
                &To::Members { audience, except, has_key, key } => {
                    if except != 0 {
                        frames.except.push((frames.frames.len() as u32, except));
                    }
                    let (frame, key) = (frame.clone(), has_key.then_some(key));
                    frames.frames.push(MemberFrame { at, frame, audience, key });
                }
                &To::Member { cursor: of, seat, member } if of == cursor.number => {
                    let kind = Kind::Direct(frames.direct.len() as u32);
                    frames.direct.push(frame.clone());
                    let event = Event::new(seat, number, member, kind);
                    events.push(Event { at, order: LAST, ..event });
                }
                To::Several { cursor: of, members } if *of == cursor.number => {
                    let kind = Kind::Direct(frames.direct.len() as u32);
                    frames.direct.push(frame.clone());
                    events.extend(members.iter().map(|&(seat, member)| {
                        let event = Event::new(seat, number, member, kind);
                        Event { at, order: LAST, ..event }
                    }));
                }
                To::Member { .. } | To::Several { .. } => {}
            }
        });
        // Now, because a publisher may need the space.
        log.release(&mut self.freed);
        self.freed.clear();
        room.end = read.end;
        let base = room.base();
        room.lost_before = (read.lost > 0).then(|| distance(base, read.first));
        room.is_active = true;
        self.active.push(number);
        for event in &mut events[first_event..] {
            event.at = distance(base, event.at);
        }
        cursor.take_commands(&mut room.commands);
        // What is before a later position waits for the entries before that.
        let shown = room.commands.partition_point(|(at, _)| distance(base, *at) <= HORIZON);
        let later = room.commands.split_off(shown);
        room.frames.commands = std::mem::replace(&mut room.commands, later);
        events.extend(room.frames.commands.iter().zip(0..).map(|((at, command), order)| {
            let kind = Kind::Command(order);
            let event = Event::new(command.seat.seat, number, command.member, kind);
            Event { at: distance(base, *at), order, ..event }
        }));
        if read.lost > 0 {
            self.lagged(number, read.lost);
        }
    }

    /// The room dropped entries before this shard read them.
    #[cold]
    fn lagged(&mut self, number: u32, lost: u32) {
        let room = &self.rooms[number as usize];
        self.stats.dropped.lost += u64::from(lost) * u64::from(room.memberships);
        if self.disconnects() {
            let groups = room.groups.iter().flat_map(|group| &group.seats);
            for seat in groups.chain(&room.others).copied().collect::<Vec<_>>() {
                self.fail_for(seat, CloseReason::TooManyFrames);
            }
        }
    }

    /// Whether a connection that loses a frame fails.
    fn disconnects(&self) -> bool {
        matches!(self.shared.options.policy, Policy::Disconnect { .. })
    }

    /// Opens and closes seats, and takes the frames for single connections.
    pub(super) fn run_seat_commands(&mut self) {
        let mut commands = std::mem::take(&mut self.commands);
        for (id, command) in commands.drain(..) {
            let at = id.seat as usize;
            match command {
                SeatCommand::Open(form, state) => {
                    if self.seats.len() <= at {
                        self.seats.resize_with(at + 1, Default::default);
                    }
                    let slot = &mut self.seats[at];
                    (slot.generation, slot.form) = (id.generation, form);
                    (slot.status, slot.state) = (Status::Current, state);
                }
                SeatCommand::Push(frame) => {
                    let slot = &self.seats[at];
                    if let Some(state) = slot.state.upgrade() {
                        state.taken(&frame);
                    }
                    // They keep their order.
                    let at = self.subjects.pushes.len() as u32;
                    self.subjects.pushes.push(frame);
                    let event = Event::new(id.seat, NONE, 0, Kind::Push(at));
                    self.events.push(Event { at, ..event });
                }
                // Meant for an occupant of the seat that is gone.
                SeatCommand::Overflow(_) | SeatCommand::Fail
                    if self.seats.get(at).is_none_or(|slot| slot.generation != id.generation) => {}
                SeatCommand::Overflow(reason) => self.fail_for(id.seat, reason),
                SeatCommand::Fail => self.fail_for(id.seat, CloseReason::ReaderDropped),
                SeatCommand::Close => self.closed.push(id.seat),
            }
        }
        self.commands = commands;
    }

    /// Decides which seats are sent bytes of their own.
    pub(super) fn set_apart(&mut self) {
        for at in 0..self.events.len() {
            let Event { seat, room, member, at: position, kind, .. } = self.events[at];
            let (mut is_stale, mut is_gap) = (false, false);
            if let Kind::Command(index) = kind {
                let slot = &mut self.seats[seat as usize];
                let room_number = room;
                let room = &mut self.rooms[room as usize];
                let Command { seat: id, action, .. } = &room.frames.commands[index as usize].1;
                let is_same = id.generation == slot.generation;
                if matches!((action, slot.status), (Action::Leave { .. }, Status::Failed))
                    && let Some(found) = slot.place_of(room_number, member)
                {
                    // It is in no list, and sent nothing.
                    slot.memberships.remove(found);
                    room.memberships -= 1;
                }
                if matches!(action, Action::Join { .. }) {
                    is_stale = !is_same;
                    is_gap = room.lost_before.is_some_and(|first| position < first);
                }
            }
            if is_stale || !self.touch(seat) {
                self.count_taken(at..at + 1);
                // Sorted to the end, for no seat.
                self.events[at].seat = NONE;
            } else if is_gap {
                self.stats.dropped.lost += 1;
                if self.disconnects() {
                    self.fail_for(seat, CloseReason::TooManyFrames);
                }
            }
        }
        for at in 0..self.active.len() {
            let number = self.active[at] as usize;
            self.touch_excepted(number);
            if self.rooms[number].frames.len() > 0 {
                // Each is taken out of the list by this.
                while let Some(&seat) = self.rooms[number].others.last() {
                    self.touch(seat);
                }
            }
        }
    }

    /// Sets apart the seats of the users that a frame of the room is not for.
    fn touch_excepted(&mut self, number: usize) {
        let mut users = std::mem::take(&mut self.users);
        users.extend(self.rooms[number].frames.except.iter().map(|(_, user)| *user));
        users.sort_unstable();
        users.dedup();
        if !users.is_empty() {
            for group in 0..self.rooms[number].groups.len() {
                // From the end: a seat that is set apart is replaced by the last.
                for place in (0..self.rooms[number].groups[group].seats.len()).rev() {
                    let group = &self.rooms[number].groups[group];
                    let half = group.users[place];
                    let upper = |user: &u64| UserKey::new(*user).upper;
                    let is_half = match &users[..] {
                        [user] => upper(user) == half,
                        users => users.binary_search_by_key(&half, upper).is_ok(),
                    };
                    if is_half {
                        let seat = group.seats[place];
                        let user = self.seats[seat as usize].memberships[0].user.get();
                        if users.binary_search(&user).is_ok() {
                            self.touch(seat);
                        }
                    }
                }
            }
        }
        users.clear();
        self.users = users;
    }

    /// Sets a seat apart; `false` if nothing is sent to it.
    fn touch(&mut self, number: u32) -> bool {
        let slot = &mut self.seats[number as usize];
        if !matches!(slot.status, Status::Current | Status::Behind) {
            return false;
        }
        if slot.apart != NONE {
            return true;
        }
        slot.apart = self.apart.len() as u32;
        self.apart.push(Apart { seat: number, source: None, bytes: 0..0, events: 0..0 });
        for at in 0..self.seats[number as usize].memberships.len() {
            let &Seated { room, member, user, audience, .. } =
                &self.seats[number as usize].memberships[at];
            if self.rooms[room as usize].is_active {
                let kind = Kind::Start(self.subjects.starts.len() as u32);
                self.subjects.starts.push(Start { user: user.get(), audience });
                self.events.push(Event::new(number, room, member, kind));
                self.unplace(number, at);
            }
        }
        true
    }

    /// Makes the bytes of this round.
    pub(super) fn compose(&mut self) {
        // A seat's rooms that it leaves come first, or it could be told of the leave of a channel after the join
        // of another channel of that name.
        let mut left = std::mem::take(&mut self.left);
        left.extend(self.events.iter().filter(|it| self.leaves(it)).map(|it| (it.seat, it.room)));
        left.sort_unstable();
        for event in &mut self.events {
            let is_left = || left.binary_search(&(event.seat, event.room)).is_ok();
            event.is_late = event.room != NONE && !is_left();
        }
        left.clear();
        left.shrink_to(SPARE_EVENTS);
        self.left = left;
        self.events.sort_unstable_by_key(Event::key);
        let mut end = 0;
        while let Some(first) = self.events.get(end) {
            let (seat, start) = (first.seat, end);
            end += self.events[start..].iter().take_while(|event| event.seat == seat).count();
            if seat != NONE {
                self.count_taken(start..end);
                self.change_memberships(start..end);
                self.compose_apart(seat, start..end);
            }
        }
        for &number in &self.active {
            let SeatedRoom { groups, frames, .. } = &mut self.rooms[number as usize];
            for group in groups.iter().filter(|group| !group.seats.is_empty()) {
                frames.make(group.audience, group.form);
                let (number, bytes) = frames.sizes(group.audience, group.form);
                self.stats.sent_frames += number * group.seats.len() as u64;
                self.stats.sent_bytes += bytes * group.seats.len() as u64;
            }
        }
    }

    /// Tells a seat's handles which of their commands the shard has taken.
    fn count_taken(&self, run: Range<usize>) {
        let slot = &self.seats[self.events[run.start].seat as usize];
        let mut taken = Taken::default();
        for event in &self.events[run] {
            if let Kind::Command(index) = event.kind {
                let frames = &self.rooms[event.room as usize].frames;
                let Command { seat, action, .. } = &frames.commands[index as usize].1;
                // Not those of an occupant of the seat that is gone.
                if seat.generation == slot.generation {
                    taken.add(action);
                }
            }
        }
        // Once for all, as it takes three atomic operations.
        if !taken.is_empty()
            && let Some(state) = slot.state.upgrade()
        {
            state.commands_taken(&taken);
        }
    }

    /// Carries out the joins and leaves of a seat.
    fn change_memberships(&mut self, run: Range<usize>) {
        for at in run {
            let Event { seat, room: number, member, kind, .. } = self.events[at];
            if number == NONE {
                continue;
            }
            let slot = &mut self.seats[seat as usize];
            let found = slot.place_of(number, member);
            let room = &mut self.rooms[number as usize];
            let command = match kind {
                Kind::Start(index) => {
                    let Start { audience, .. } = self.subjects.starts[index as usize];
                    if slot.status == Status::Current {
                        room.frames.make(audience, slot.form);
                    }
                    continue;
                }
                Kind::Command(index) => &room.frames.commands[index as usize].1,
                Kind::Push(_) | Kind::Direct(_) => continue,
            };
            let audience = match (&command.action, found) {
                (&Action::Join { user, audience, .. }, None) => {
                    let (user, list, place) = (UserKey::new(user), List::NOWHERE, NONE);
                    let seated = Seated { room: number, member, user, audience, list, place };
                    slot.memberships.push(seated);
                    room.memberships += 1;
                    audience
                }
                (&Action::Audience(audience), Some(found)) => {
                    slot.memberships[found].audience = audience;
                    audience
                }
                (Action::Leave { .. }, Some(found)) => {
                    slot.memberships.remove(found);
                    room.memberships -= 1;
                    continue;
                }
                _ => continue,
            };
            if matches!(slot.status, Status::Current) {
                room.frames.make(audience, slot.form);
            }
        }
    }

    fn compose_apart(&mut self, seat: u32, run: Range<usize>) {
        let slot = &self.seats[seat as usize];
        let (apart, form) = (slot.apart as usize, slot.form);
        self.apart[apart].events = run.clone();
        if matches!(slot.status, Status::Failed | Status::Free) {
            return;
        }
        let (mut number, mut len) = (0, 0);
        if let Some(Behind { outbox, .. }) = self.behind.get(&seat) {
            self.walk(&self.events[run], |piece| {
                let is_single = matches!(piece, Piece::Frame(_));
                piece.for_each(|frame, key| {
                    let is_queued = if is_single {
                        push_single(outbox, frame)
                    } else {
                        push(outbox, frame, key)
                    };
                    if is_queued {
                        (number, len) = (number + 1, len + frame.bytes(form).len());
                    }
                });
            });
            self.check_outbox(seat);
        } else {
            // The one run of a room's bytes that it is sent, if that is all.
            let (mut pieces, mut source, mut range) = (0, None, 0..0);
            self.walk(&self.events[run.clone()], |piece| match piece {
                Piece::Frame(frame) => {
                    (pieces, number) = (pieces + 1, number + 1);
                    len += frame.bytes(form).len();
                }
                Piece::Frames { room, frames, range: of, audience } => {
                    let (_, from, to) = frames.run(of, audience, form);
                    if from.bytes < to.bytes {
                        (pieces, number) = (pieces + 1, number + to.frames - from.frames);
                        len += to.bytes - from.bytes;
                        (source, range) = (Some((room, audience)), from.bytes..to.bytes);
                    }
                }
            });
            if pieces == 1 && source.is_some() {
                (self.apart[apart].source, self.apart[apart].bytes) = (source, range);
            } else if len > MOST_JOINED || self.bytes.len() + len > MOST_JOINED_IN_ALL {
                self.put_behind(seat, 0);
                self.held_back.push(seat);
            } else {
                self.join_bytes(apart, form, run);
            }
        }
        self.stats.sent_frames += number as u64;
        self.stats.sent_bytes += len as u64;
    }

    /// Joins the bytes that one seat is sent.
    fn join_bytes(&mut self, apart: usize, form: Form, run: Range<usize>) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let start = bytes.len();
        self.walk(&self.events[run], |piece| match piece {
            Piece::Frame(frame) => bytes.extend_from_slice(frame.bytes(form)),
            Piece::Frames { frames, range, audience, .. } => {
                let (made, from, to) = frames.run(range, audience, form);
                bytes.extend_from_slice(&made[from.bytes..to.bytes]);
            }
        });
        self.apart[apart].bytes = start..bytes.len();
        self.bytes = bytes;
    }

    /// Whether it is a leave.
    fn leaves(&self, event: &Event) -> bool {
        let Kind::Command(index) = event.kind else { return false };
        let commands = &self.rooms[event.room as usize].frames.commands;
        matches!(commands[index as usize].1.action, Action::Leave { .. })
    }

    /// Calls `emit` with everything that a seat is sent in this round, in order; `run` are its events.
    pub(super) fn walk<'a>(&'a self, run: &'a [Event], mut emit: impl FnMut(Piece<'a>)) {
        let is_one = |a: &Event, b: &Event| a.room == b.room && a.member == b.member;
        for events in run.chunk_by(is_one) {
            let number = events[0].room;
            if number == NONE {
                for event in events {
                    if let Kind::Push(index) = event.kind {
                        emit(Piece::Frame(&self.subjects.pushes[index as usize]));
                    }
                }
                continue;
            }
            let room = &self.rooms[number as usize];
            let (frames, base) = (&room.frames, room.base());
            let mut member = None;
            for event in events {
                let here = frames.before(base, event.at);
                emit_before((number, frames), &mut member, here, &mut emit);
                let action = match event.kind {
                    Kind::Push(_) => continue,
                    Kind::Start(index) => {
                        let Start { user, audience } = self.subjects.starts[index as usize];
                        member = Some(Member { user, audience, from: 0 });
                        continue;
                    }
                    Kind::Direct(index) => {
                        if member.is_some() {
                            emit(Piece::Frame(&frames.direct[index as usize]));
                        }
                        continue;
                    }
                    Kind::Command(index) => &frames.commands[index as usize].1.action,
                };
                match action {
                    Action::Join { user, audience, first } => {
                        if let Some(first) = first {
                            emit(Piece::Frame(first));
                        }
                        member = Some(Member { user: *user, audience: *audience, from: here });
                    }
                    Action::Audience(changed) => {
                        if let Some(member) = &mut member {
                            member.audience = *changed;
                        }
                    }
                    Action::Missed(missed, _) => {
                        if member.is_some() {
                            missed.iter().for_each(|frame| emit(Piece::Frame(frame)));
                        }
                    }
                    Action::Leave { last } => {
                        if let (Some(_), Some(last)) = (member.take(), last) {
                            emit(Piece::Frame(last));
                        }
                    }
                }
            }
            emit_before((number, frames), &mut member, frames.len(), &mut emit);
        }
    }
}

/// A member while the walk goes through the frames.
struct Member {
    user: u64,
    audience: u32,
    /// The first frame that was not emitted.
    from: usize,
}

/// Emits the frames before `end` to a member, if it is one.
fn emit_before<'a>(
    (room, frames): (u32, &'a Frames),
    member: &mut Option<Member>,
    end: usize,
    emit: &mut impl FnMut(Piece<'a>),
) {
    if let Some(Member { user, audience, from }) = member {
        frames.for_each_part(*from..end, *user, |range| {
            if !range.is_empty() {
                emit(Piece::Frames { room, frames, range, audience: *audience });
            }
        });
        *from = end;
    }
}
