//! A streaming backend as a user would write it, over a map in memory.

#![allow(dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::sync::Mutex;

use tercel::{BoxFuture, Error, Result, StreamEntry, StreamingBackend};

#[derive(Default)]
pub struct MemoryStreams(Mutex<HashMap<String, Vec<StreamEntry>>>);

impl MemoryStreams {
    fn after(&self, stream: &str, last: &str, count: usize) -> Vec<StreamEntry> {
        let after: u64 = last.split('-').next().and_then(|id| id.parse().ok()).unwrap_or(u64::MAX);
        let streams = self.0.lock().unwrap();
        let entries = streams.get(stream).into_iter().flatten();
        entries.filter(|(id, _)| id[..id.len() - 2].parse::<u64>().unwrap() > after).take(count).cloned().collect()
    }
}

impl StreamingBackend for MemoryStreams {
    fn stream_add<'a>(
        &'a self,
        stream_key: &'a str,
        fields: Vec<(String, String)>,
        maxlen: Option<usize>,
    ) -> BoxFuture<'a, Result<String>> {
        Box::pin(async move {
            let mut streams = self.0.lock().unwrap();
            let entries = streams.entry(stream_key.to_owned()).or_default();
            let id = format!("{}-0", entries.len() + 1);
            entries.push((id.clone(), fields));
            let surplus = maxlen.map_or(0, |most| entries.len().saturating_sub(most));
            entries.drain(..surplus);
            Ok(id)
        })
    }

    fn stream_read_latest<'a>(&'a self, stream_key: &'a str, count: usize) -> BoxFuture<'a, Result<Vec<StreamEntry>>> {
        Box::pin(async move {
            let mut all = self.after(stream_key, "0", usize::MAX);
            all.reverse();
            all.truncate(count);
            Ok(all)
        })
    }

    fn stream_read<'a>(
        &'a self,
        stream_key: &'a str,
        last_id: &'a str,
        count: usize,
        _block_ms: Option<usize>,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>>> {
        Box::pin(async move { Ok(self.after(stream_key, last_id, count)) })
    }

    fn stream_create_group<'a>(&'a self, _: &'a str, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(Error::unsupported("these streams have no groups")) })
    }

    fn stream_read_group<'a>(
        &'a self,
        _stream_key: &'a str,
        _group_name: &'a str,
        _consumer_name: &'a str,
        _count: usize,
        _block_ms: Option<usize>,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>>> {
        Box::pin(async { Err(Error::unsupported("these streams have no groups")) })
    }

    fn stream_ack<'a>(&'a self, _: &'a str, _: &'a str, _: &'a [String]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(Error::unsupported("these streams have no groups")) })
    }
}
