//! Buffers that are filled from the network and written to the disk, used again and again.

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::direct::AlignedBuffer;

/// Bytes in a buffer: large enough to keep a disk busy by one write at a time, small enough that a pool of them is no burden to
/// an agent in a RAM disk.
pub(super) const BUFFER_BYTES: usize = 1 << 20;

/// A fixed number of buffers. What takes one waits until one is free: that bounds how far one stage can be ahead of the next.
#[derive(Debug)]
pub(super) struct Pool {
    free: Receiver<AlignedBuffer>,
    home: Sender<AlignedBuffer>,
}

impl Pool {
    pub(super) fn new(buffers: usize) -> Self {
        let (home, free) = channel(buffers);
        for _ in 0..buffers {
            // There is room for all of them.
            let _ = home.try_send(AlignedBuffer::new(BUFFER_BYTES));
        }
        Self { free, home }
    }

    /// An empty buffer, once there is one.
    pub(super) async fn take(&mut self) -> Buffer {
        let memory = self.free.recv().await;
        self.buffer(memory)
    }

    /// Like [`Pool::take`], on a blocking thread.
    pub(super) fn take_blocking(&mut self) -> Buffer {
        let memory = self.free.blocking_recv();
        self.buffer(memory)
    }

    fn buffer(&self, memory: Option<AlignedBuffer>) -> Buffer {
        // The pool holds a sender itself, so that the channel is never closed.
        let memory = memory.unwrap_or_else(|| AlignedBuffer::new(BUFFER_BYTES));
        Buffer { memory: Some(memory), len: 0, home: self.home.clone() }
    }
}

/// A piece of an image, where it can be written past the page cache. Goes back to its pool when dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    /// There until it is dropped.
    memory: Option<AlignedBuffer>,
    len: usize,
    home: Sender<AlignedBuffer>,
}

impl Buffer {
    /// Takes as much of `bytes` as there is room for, and says how much that was.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let taken = bytes.len().min(room.len());
        room[..taken].copy_from_slice(&bytes[..taken]);
        self.len += taken;
        taken
    }

    /// The part that is free, to be filled and then [claimed](Buffer::claim).
    pub(super) fn room(&mut self) -> &mut [u8] {
        let len = self.len;
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory[len..])
    }

    /// Says that so many bytes of the room have been filled.
    pub(super) fn claim(&mut self, bytes: usize) {
        self.len = (self.len + bytes).min(BUFFER_BYTES);
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == BUFFER_BYTES
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| &memory[..self.len])
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            // There is room for every buffer of the pool; it is of no use any more once the pool is gone.
            let _ = self.home.try_send(memory);
        }
    }
}
