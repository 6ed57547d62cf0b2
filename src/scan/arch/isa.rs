//! What the instruction sets have in common: [`isa`] makes an [`Isa`](crate::scan::blocks::Isa) of
//! the functions that each file has over its registers, which are safe within their target features.

/// Calls `scan`, which uses no tier: on this target that is the exception.
#[cold]
pub(in crate::scan) fn without_tier<T>(scan: impl FnOnce() -> T) -> T {
    scan()
}

/// Defines, from the functions `load`, `put_places`, `squeeze`, `place`, `text_masks`, `has_specials`,
/// `prefix_xor`, `equal`, `within`, `specials`, `bit_5`, `with_bit_5` and `high_bits` over `$registers`, the functions
/// `prefix`, `walk`, `tokens`, `outline`, `container_end`, `plain_blocks`, `escape`, by the
/// masks that `$piece_masks` makes, and `copy_with_spaces`, which is `$copy`, with all of `$features`.
macro_rules! isa {
    ($features:literal, $registers:ty, $copy:path, $piece_masks:path) => {
        /// See [`blocks::Prefix::find`].
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn prefix(
            bytes: &[u8],
            max_depth: usize,
            prefix: &mut blocks::Prefix,
            members: &mut impl Members,
        ) {
            prefix.find(Proof(()), bytes, max_depth, members);
        }

        /// See [`blocks::outline`].
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn outline(
            bytes: &[u8],
            prefix: &blocks::Prefix,
            max_depth: usize,
            outline: &mut blocks::Outline,
        ) -> Result<blocks::Charset, blocks::ErrorSite> {
            blocks::outline(Proof(()), bytes, prefix, max_depth, outline)
        }

        /// See [`walk::document`].
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn walk(
            bytes: &[u8],
            max_depth: usize,
            until: walk::Until,
            prefix: &mut blocks::Prefix,
            members: &mut impl Members,
        ) -> Result<(), Malformed> {
            walk::document(Proof(()), bytes, max_depth, until, prefix, members)
        }

        /// See [`tokens::member`].
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn tokens(
            bytes: &[u8],
            max_depth: usize,
            prefix: &mut blocks::Prefix,
            members: &mut impl Members,
        ) -> Result<(), Option<blocks::ErrorSite>> {
            tokens::member(Proof(()), bytes, max_depth, prefix, members)
        }

        /// See [`blocks::container_end`].
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn container_end(bytes: &[u8], start: usize) -> usize {
            blocks::container_end(Proof(()), bytes, start)
        }

        /// See [`blocks::plain_blocks`].
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn plain_blocks(bytes: &[u8]) -> usize {
            blocks::plain_blocks(Proof(()), bytes)
        }

        /// See [`escapes::write`].
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn escape(
            from: &[u8],
            last: bool,
            to: &mut [MaybeUninit<u8>],
        ) -> escapes::Progress {
            escapes::write(from, last, to, |piece| $piece_masks(piece))
        }

        /// See [`newlines`](crate::scan::arch::newlines).
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn copy_with_spaces(from: &[u8], to: &mut [MaybeUninit<u8>]) {
            $copy(from, to);
        }

        /// Proof that the instructions are available. Invariant: made only in functions with their
        /// features.
        #[derive(Clone, Copy)]
        struct Proof(());

        /// A block in registers. Invariant: made only from a [`Proof`] or from other `Registers`.
        #[derive(Clone, Copy)]
        struct Registers($registers);

        impl blocks::Isa for Proof {
            type Block = Registers;

            #[inline(always)]
            fn load(self, bytes: &[u8], at: usize) -> (Registers, u64) {
                // SAFETY: by the invariant of `Proof` the features are available.
                let (registers, valid) = unsafe { load(bytes, at) };
                (Registers(registers), valid)
            }

            #[inline(always)]
            fn put_places(self, mask: u64, base: u8, to: &mut [u8; BLOCK]) {
                // SAFETY: by the invariant of `Proof` the features are available.
                unsafe { put_places(mask, base, to) }
            }

            #[inline(always)]
            fn squeeze(self, block: Registers, bytes: &[u8], mask: u64, to: &mut [u8; BLOCK]) {
                // SAFETY: by the invariant of `Proof` the features are available.
                unsafe { squeeze(block.0, bytes, mask, to) }
            }

            #[inline(always)]
            fn place(self, mask: u64, before: u32) -> u32 {
                // SAFETY: by the invariant of `Proof` the features are available.
                unsafe { place(mask, before) }
            }

            #[inline(always)]
            fn text_end(self, bytes: &[u8], at: usize, non_ascii: &mut u64) -> usize {
                // SAFETY: by the invariant of `Proof` the features are available.
                blocks::text_end(bytes, at, non_ascii, |piece| unsafe { text_masks(piece) })
            }

            #[inline(always)]
            fn has_specials(self, blocks: &[u8; 2 * BLOCK]) -> bool {
                // SAFETY: by the invariant of `Proof` the features are available.
                unsafe { has_specials(blocks) }
            }

            #[inline(always)]
            fn prefix_xor(self, mask: u64) -> u64 {
                // SAFETY: by the invariant of `Proof` the features are available.
                unsafe { prefix_xor(mask) }
            }
        }

        impl blocks::Block for Registers {
            #[inline(always)]
            fn equal(self, byte: u8) -> u64 {
                // SAFETY: by the invariant of `Registers` the features are available.
                unsafe { equal(self.0, byte) }
            }

            #[inline(always)]
            fn within(self, first: u8, last: u8) -> u64 {
                // SAFETY: by the invariant of `Registers` the features are available.
                unsafe { within(self.0, first, last) }
            }

            #[inline(always)]
            fn specials(self) -> u64 {
                // SAFETY: by the invariant of `Registers` the features are available.
                unsafe { specials(self.0) }
            }

            #[inline(always)]
            fn bit_5(self) -> u64 {
                // SAFETY: by the invariant of `Registers` the features are available.
                unsafe { bit_5(self.0) }
            }

            #[inline(always)]
            fn with_bit_5(self) -> Self {
                // SAFETY: by the invariant of `Registers` the features are available.
                Self(unsafe { with_bit_5(self.0) })
            }

            #[inline(always)]
            fn non_ascii(self) -> u64 {
                // SAFETY: by the invariant of `Registers` the features are available.
                unsafe { high_bits(self.0) }
            }
        }
    };
}
pub(super) use isa;
