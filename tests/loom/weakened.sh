#!/usr/bin/env bash
# Shows that the models of src/outbox, src/log and src/log/readers can fail: puts one bug at a time into a
# copy of the tree, and requires that the model for it finds it. Takes about 15 minutes on two cores.
#
#     tests/loom/weakened.sh [NAME…]
#     tests/loom/weakened.sh --check     only that each bug can still be put in, in a second
set -euo pipefail
cd "$(dirname "$0")/../.."
export RUSTFLAGS="--cfg pondwire_loom" CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target/loom}"
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

check=
if [ "${1:-}" = --check ]; then check=1 && shift; fi
wanted=("$@")
failed=0

# The module of the models.
of=outbox

# weaken NAME MODEL FILE PERL: the substitution over the whole FILE must change it, the tree must
# compile with it, and MODEL must fail.
weaken() {
    local name=$1 model=$2 file=src/$3 bug=$4
    if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then return; fi
    rm -rf "$copy/src"
    cp -r src Cargo.toml Cargo.lock README.md "$copy"
    # Under another name, or cargo would mistake its build for one of the tree itself.
    sed -i 's/^name = "pondwire"$/name = "pondwire-weakened"/' "$copy/Cargo.toml" "$copy/Cargo.lock"
    # Without the workspace's other crates, which the models do not need.
    sed -i -e 's/^\[dependencies\]$/[lib]\nname = "pondwire"\n\n&/' -e '/^pondwire[a-z-]* = { path/d' \
        -e '/^\(default-\)\?members = /d' "$copy/Cargo.toml"
    perl -0pi -e "$bug" "$copy/$file"
    if cmp -s "$file" "$copy/$file"; then
        echo "$name: the substitution no longer matches anything in $file"
        failed=1
        return
    fi
    [ -z "$check" ] || return 0
    local log
    (cd "$copy" && cargo test --quiet --release --lib --no-run)
    log=$(cd "$copy" && timeout 120 cargo test --release --lib "$of::models::$model" 2>&1) || true
    # A deadlock ends the process during the panic, so this line is the only evidence.
    if grep -q "^thread '$of::models::$model' .*panicked at" <<<"$log"; then
        echo "$name: found by $model"
    else
        echo "$name: NOT found by $model"
        tail -20 <<<"$log"
        failed=1
    fi
}

# A position is claimed twice: the tail is stored instead of swapped.
store_tail='s/self\.tail\.compare_exchange_weak\(\s*tail\.0,\s*next\.0,\s*Ordering::AcqRel,\s*Ordering::Acquire,?\s*\)/{ self.tail.store(next.0, Ordering::Release); Ok::<u64, u64>(0) }/'
weaken pushed-twice two_producers_push_while_a_popper_takes ring/mod.rs "$store_tail"
weaken over-bounds the_bounds_hold_with_two_producers ring/mod.rs "$store_tail"
# The item is published before it is written.
weaken shown-early two_producers_drop_the_oldest ring/slot.rs \
    's/(store\(full\(position\), Ordering::)Release/$1Relaxed/'
# The slot is free before the item is out.
weaken freed-early a_producer_drops_the_oldest_while_the_consumer_takes ring/slot.rs \
    's/(store\(FREE, Ordering::)Release/$1Relaxed/'
# A slot looks free with an old tag.
weaken old-tag a_producer_drops_the_oldest_while_the_consumer_takes ring/slot.rs \
    's/(load\(Ordering::)Acquire(\) == FREE)/$1Relaxed$2/'
# An item is claimed twice: the head is stored instead of swapped.
weaken claimed-twice a_producer_drops_the_oldest_while_the_consumer_takes ring/mod.rs \
    's/self\s*\.head\s*\.compare_exchange\(head\.0, next\.0, Ordering::AcqRel, Ordering::Acquire\)/{ self.head.store(next.0, Ordering::Release); Ok::<u64, u64>(0) }/'
# A thread that loses the race to allocate uses the other's slots without seeing them initialised.
weaken unseen-slots two_producers_allocate_the_same_segment ring/mod.rs \
    's/Ordering::AcqRel,\s*Ordering::Acquire,(\s*\);\s*let slots = match)/Ordering::Relaxed, Ordering::Relaxed,$1/'
# The consumer sleeps on a tail that has moved since it looked.
weaken late-sleep a_push_wakes_a_sleeping_reader ring/waking.rs \
    's/self\.tail\.compare_exchange\(\s*tail\.0,\s*tail\.asleep\(\)\.0,\s*Ordering::AcqRel,\s*Ordering::Acquire,?\s*\)/Ok::<u64, u64>(self.tail.fetch_or(SLEEPING, Ordering::AcqRel))/'
# A push does not wake a sleeping reader.
weaken no-wake push_meets_drop_oldest_and_wake outbox/push.rs \
    's/Ok\(true\) => \{\s*self\.ring\.wake_found\(\);/Ok(true) => {/'
# The check for a sleeping reader may miss one that missed the announcement.
weaken plain-look an_out_of_band_frame_wakes_a_sleeping_reader ring/waking.rs \
    's/self\.tail\.fetch_and\(!SLEEPING, Ordering::AcqRel\)/self.tail.load(Ordering::Acquire)/'
# The same with the order of the announcement gone.
weaken unordered-sleep an_out_of_band_frame_wakes_a_sleeping_reader ring/waking.rs \
    's/(fetch_and\(!SLEEPING, Ordering::)AcqRel/$1Relaxed/'
# The consumer does not look once more before it sleeps.
weaken no-second-look an_out_of_band_frame_wakes_a_sleeping_reader outbox/reader.rs \
    's/ && !self\.has_out_of_band\(\)//'
weaken no-second-look-conflated a_conflated_push_wakes_a_sleeping_reader outbox/reader.rs \
    's/conflated \|\| self\.state\.ring/self.state.ring/'
# A taken item is still found by its key, and replaced although it is gone.
weaken stale-key conflate_replaces_while_the_reader_takes outbox/conflated.rs \
    's/self\.by_key\.remove\(&key\);//'
# A close and a push overwrite each other.
weaken lost-close close_meets_push ring/waking.rs \
    's/self\.tail\.fetch_or\(CLOSED, Ordering::AcqRel\)/{ let tail = self.tail.load(Ordering::Acquire); self.tail.store(tail | CLOSED, Ordering::Release); tail }/'
# The reader is dropped without waiting for a push in progress.
weaken left-behind a_dropped_reader_leaves_no_frame_behind ring/waking.rs \
    's/Err\(PopResult::Busy\) if all =>/Err(PopResult::Busy) if all \&\& looks > 9 =>/'
# A frame may follow a close frame.
weaken after-close a_close_frame_comes_last_and_reaches_the_reader outbox/control_queue.rs \
    's/(is_last = is_close);/$1 \&\& false;/'

of=log
# Entries are dropped by a tail that is later than the cursors.
weaken late-tail two_publishers_are_read_in_their_order log/mod.rs \
    's/before\(tail, most\)/before(self.0.ring.tail_position(), most)/'
# A cursor that is attached has no place in the order of pushes.
weaken unordered-attach a_shard_that_attaches_reads_what_follows ring/mod.rs \
    's/self\.tail\.fetch_or\(0, Ordering::AcqRel\)/self.tail.load(Ordering::Relaxed)/'
# Its position is read before it is shown as attaching.
weaken unseen-attach a_shard_that_attaches_reads_what_follows log/mod.rs \
    's/cursor\.begin_attaching\(\);//'
# A publisher moves on a cursor that is read.
weaken forced-skip a_full_log_drops_what_a_shard_has_not_read log/cursor.rs \
    's/self\s*\.state\s*\.compare_exchange\(position, next, Ordering::AcqRel, Ordering::Acquire\)\s*\.is_ok\(\)/{ self.state.store(next, Ordering::Release); true }/'
# Nobody sees that a shard reads.
weaken unseen-read a_full_log_drops_what_a_shard_has_not_read log/cursor.rs \
    's/self\.state\.fetch_or\(READING, Ordering::AcqRel\)/self.state.load(Ordering::Acquire)/'
# An entry may be dropped before the last read of it is done.
weaken early-end a_full_log_drops_what_a_shard_has_not_read log/cursor.rs \
    's/(comes after the reads\.\s*self\.state\.store\(position, Ordering::)Release/$1Relaxed/'
# The position of a command is read before the shard may have taken the list.
weaken late-command a_command_is_there_when_its_position_was_read log/mod.rs \
    's/(let mut commands = cursor\.commands\.lock\(\);)(.*?)self\.0\.ring\.tail_position\(\), command\(\)/let at = self.0.ring.tail_position(); $1$2at, command()/s'
# Only one shard is told.
weaken one-told both_shards_are_notified log/mod.rs \
    's/for cursor in self\.cursors\(\) \{/for cursor in self.cursors().take(1) {/'
# No shard is told.
weaken none-told a_shard_that_sleeps_is_notified log/mod.rs \
    's/if (self\.append_frame\(frame, to\)\?) \{\s*self\.wake\(\);\s*\}/$1;/'
# A shard may not be told of a command.
weaken untold-command a_shard_that_attaches_reads_what_follows log/mod.rs \
    's/if !cursor\.is_listed\(\) \{\s*self\.list\(cursor\);\s*\}//'
# A shard detaches although somebody joins.
weaken deaf-detach a_room_is_not_detached_while_someone_joins log/mod.rs \
    's/let is_unused = commands\.is_empty\(\);/let is_unused = true;/'
# A shard that sleeps does not notice the end.
weaken silent-close the_end_is_noticed log/mod.rs \
    's/if (self\.0\.ring\.mark_closed\(\))\.is_sleeping\(\) \{\s*self\.wake\(\);\s*\}/$1;/'

of=log::readers
# A reader sleeps although a publisher could not get the lock.
weaken no-second-look-at-log a_publish_meets_a_reader_that_goes_to_sleep log/readers/mod.rs \
    's/log\.is_quiet_at_in_order\(end\)/true/'
# The same while another one joins.
weaken no-look-after-join a_publish_meets_a_reader_that_joins log/readers/mod.rs \
    's/if !log\.is_quiet_at_in_order\(end\) \{/if false {/'
# The same with the order of the look gone.
weaken plain-look-at-log a_publish_meets_a_reader_that_goes_to_sleep ring/mod.rs \
    's/(An RMW, as above\.\s*let tail = Word\()self\.tail\.fetch_or\(0, Ordering::AcqRel\)/$1self.tail.load(Ordering::Acquire)/'
# A reader sleeps although the log is closed.
weaken no-look-for-end the_end_wakes_a_reader ring/mod.rs \
    's/!tail\.is_closed\(\) && (tail\.position\(\) == position)/$1/'
# A reader does not look at its chunk after it was registered.
weaken no-look-at-chunk two_readers_are_woken log/readers/mod.rs \
    's/(\.register\(recipient\.place, cx\.waker\(\)\);\s*match )self\.find\(log, cursor, place, recipient\)/$1Found::Nothing/'
# An entry is shown before its recipients are.
weaken shown-early-in-chunk an_entry_is_read_with_its_recipients log/readers/chunk.rs \
    's/(store\(len \+ 1, Ordering::)Release/$1Relaxed/'

exit $failed
