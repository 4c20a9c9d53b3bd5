//! Bytes on their way out: a queue of buffers of moderate size, so that none is ever moved because it has grown large.

use std::{collections::VecDeque, mem};

/// A buffer that has got this long is left alone.
const BUFFER_BYTES: usize = 256 << 10;

/// See the module.
#[derive(Default)]
pub(super) struct Output {
    full: VecDeque<Vec<u8>>,
    full_bytes: usize,
    last: Vec<u8>,
}

impl Output {
    /// How many bytes there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.full_bytes + self.last.len()
    }

    /// Where the next bytes go, to the end.
    #[inline]
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        if self.last.len() >= BUFFER_BYTES {
            self.close();
        }
        &mut self.last
    }

    /// Takes over all that another has, which comes after what is here.
    pub(super) fn append(&mut self, other: &mut Output) {
        if other.len() > 0 {
            self.close();
            self.full.append(&mut other.full);
            self.full_bytes += mem::take(&mut other.full_bytes);
            self.last = mem::take(&mut other.last);
        }
    }

    /// Exchanges an empty buffer for the first one, or adds that to a buffer with something in it.
    pub(super) fn take(&mut self, out: &mut Vec<u8>) {
        let first = match self.full.front_mut() {
            Some(first) => {
                self.full_bytes -= first.len();
                first
            }
            None => &mut self.last,
        };
        match out.is_empty() {
            true => mem::swap(out, first),
            false => out.append(first),
        }
        self.full.pop_front();
    }

    /// Calls `f` with all the bytes, in order.
    pub(super) fn for_each(&self, mut f: impl FnMut(&[u8])) {
        self.full.iter().chain([&self.last]).for_each(|bytes| f(bytes));
    }

    fn close(&mut self) {
        if !self.last.is_empty() {
            self.full_bytes += self.last.len();
            self.full.push_back(mem::take(&mut self.last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn bytes_come_out_in_the_order_in_which_they_went_in() {
        let mut prng = Prng::new(1);
        let (mut output, mut aside) = (Output::default(), Output::default());
        let (mut expected, mut expected_aside) = (Vec::new(), Vec::new());
        let (mut taken, mut buffer) = (Vec::new(), Vec::new());
        for step in 0..3000u32 {
            let bytes = vec![step as u8; prng.below(2000) as usize];
            match prng.below(200) {
                0..80 => {
                    output.end().extend(&bytes);
                    expected.extend(&bytes);
                }
                80..197 => {
                    aside.end().extend(&bytes);
                    expected_aside.extend(&bytes);
                }
                197 => {
                    output.append(&mut aside);
                    expected.append(&mut expected_aside);
                }
                198 => output.take(&mut taken),
                _ => {
                    buffer.clear();
                    output.take(&mut buffer);
                    taken.extend(&buffer);
                }
            }
            assert_eq!(output.len() + taken.len(), expected.len());
            assert_eq!(aside.len(), expected_aside.len());
        }
        while output.len() > 0 {
            output.take(&mut taken);
        }
        assert!(taken == expected);
    }
}
