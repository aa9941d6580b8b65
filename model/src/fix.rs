//! What keeps the protocol right, a switch each: without any one of them a law breaks.

use crate::set::Member;

/// In the words of the code. The numbers are those of the counterexamples that they answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Fix {
    /// 1: RENEW only lengthens a lease that stands.
    RenewNeverCreates,
    /// 2: a token whose LEASE was not answered is not sent again.
    RetryDrawsNewToken,
    /// 3: a fill stamps the epoch that was read before its marker was placed.
    FillStampsEpochOfMarker,
    /// 4: a revalidation stamps the epoch that was read before it asked, and only the entry that it asked about.
    RestampsEpochOfRequest,
    /// 5: who comes after an epoch has ended does not join what began in it.
    OtherEpochNotJoined,
    /// 6: a number that is not above the last one tells that the clock was lost.
    LowNumberIsLostClock,
    /// 7: a PUT that failed is settled by an INVAL that runs after it, and before any later INVAL of the key.
    FailedPutIsSettled,
    /// 8: `set` fills L1 by its own marker or not at all.
    SetFillsItsMarker,
    /// 9: the second kill comes on errors too.
    ErrorKillsAgain,
    /// 10: an invalidation whose future is dropped kills again and is queued.
    DropGuardKills,
    /// 11: what the ring sends again is bypassed until it is acknowledged, then killed again.
    ResendBypassesAndKills,
    /// 12: the ring holds the keys of PUT too.
    RingHoldsPuts,
    /// 13: a server is known by its run and by its replication history.
    IdentityHasHistory,
    /// 14: data connections to a server that the link has left are dropped.
    DataFollowsLink,
    /// 15: the source of a key is written by one instance at a time. No fix: what callers of `set` have to see to.
    OneWriterAtATime,
    /// 16: once the bound has passed nothing in L1 is trusted until the link is live.
    UntrustedUntilLive,
    /// 17: the heartbeat asks who the server is, too: a history can change under a connection that stays.
    HeartbeatTellsIdentity,
    /// 18: a link whose data connection has gone to another server is dropped.
    LinkFollowsData,
    /// 19: a later PUT settles an earlier one that failed, as a later INVAL does.
    PutSettlesToo,
    /// 20: what lies on the disk keeps the epoch that it had in L1, and is suspect with it.
    DiskKeepsEpoch,
    /// 21: a kill takes what is on its way to the disk.
    KillStopsSpill,
    /// 22: an INVAL with a hold does not shorten one that stands.
    HoldOnlyLengthens,
    /// 23: what is sent again carries its hold.
    ResendKeepsHold,
    /// 24: while a hold may stand, what was computed without a lease is not kept in L1.
    HeldIsNotKept,
    /// 25: a token of a write names the server that gave it.
    TokenNamesServer,
    /// 26: a clock that starts again has another name, which identity, heartbeat and token compare.
    ClockHasEra,
    /// 27: data commands run only on the server that the link has seen, so that what it has to send again goes first.
    DataWaitsForLink,
    /// 28: who asks for at least a write is answered by L1 only while the link is live.
    TokenNeedsLink,
    /// Control 1: the floor of `clear` is made anew no lower than the clock.
    FloorNeverFalls,
    /// Control 2: rules that are gone raise the floor to the newest of them.
    LostRulesRaiseFloor,
    /// Control 3: a link that finds a new server lifts its clock above its own.
    NewServerIsLifted,
    /// Control 4: the ring holds bumps too.
    RingHoldsBumps,
    /// Control 5: a bump brings the clock that its caller knows.
    BumpBringsClock,
    /// Control 6: the origin applies its bump before it returns.
    OriginAppliesItsBump,
    /// Control 7: while a `clear` stands for an overflown retry queue, no key is asked of Redis.
    OverflowBypasses,
    /// Control 8: once the link has been down for longer than the bound, the control log is asked with every read.
    DownAsksControl,
}

impl Fix {
    #[cfg(test)]
    pub(crate) const ALL: &[Self] = &[
        Self::RenewNeverCreates,
        Self::RetryDrawsNewToken,
        Self::FillStampsEpochOfMarker,
        Self::RestampsEpochOfRequest,
        Self::OtherEpochNotJoined,
        Self::LowNumberIsLostClock,
        Self::FailedPutIsSettled,
        Self::SetFillsItsMarker,
        Self::ErrorKillsAgain,
        Self::DropGuardKills,
        Self::ResendBypassesAndKills,
        Self::RingHoldsPuts,
        Self::IdentityHasHistory,
        Self::DataFollowsLink,
        Self::OneWriterAtATime,
        Self::UntrustedUntilLive,
        Self::HeartbeatTellsIdentity,
        Self::LinkFollowsData,
        Self::PutSettlesToo,
        Self::DiskKeepsEpoch,
        Self::KillStopsSpill,
        Self::HoldOnlyLengthens,
        Self::ResendKeepsHold,
        Self::HeldIsNotKept,
        Self::TokenNamesServer,
        Self::ClockHasEra,
        Self::DataWaitsForLink,
        Self::TokenNeedsLink,
        Self::FloorNeverFalls,
        Self::LostRulesRaiseFloor,
        Self::NewServerIsLifted,
        Self::RingHoldsBumps,
        Self::BumpBringsClock,
        Self::OriginAppliesItsBump,
        Self::OverflowBypasses,
        Self::DownAsksControl,
    ];
}

impl Member for Fix {
    fn place(self) -> u32 {
        self as u32
    }
}
