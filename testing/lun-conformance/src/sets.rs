//! Shadow sets: every action can be repeated, and a set is all or nothing.

use anyhow::{Result, ensure};
use lunshadow_lun::{CommitError, Lba, LunId, Outcome, Pool as _, PoolError, ShadowMember};

use crate::{COMMIT_AT_MOST, SMALL, Subject, blocks, expect, random_set, small_lun};

/// Preparation adds members, captures nothing, and leaves nothing when it is aborted.
///
/// # Errors
/// The promise that was broken.
pub async fn preparations_can_be_repeated_and_aborted(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let (one, two) = (small_lun(&pool).await?, small_lun(&pool).await?);
    let set = random_set();
    let member = |source: LunId| ShadowMember { source, shadow: LunId::random() };
    let (first, second) = (member(one.id()), member(two.id()));
    ensure!(pool.abort(set)? == Outcome::AlreadySo, "an unknown set was aborted");
    ensure!(pool.prepare(set, &[first]).await? == Outcome::Done, "the first preparation did nothing");
    ensure!(pool.prepare(set, &[first]).await? == Outcome::AlreadySo, "the repeated one did something");
    ensure!(pool.prepare(set, &[first, second]).await? == Outcome::Done, "a member more did nothing");
    ensure!(pool.luns().len() == 2, "a preparation is listed");
    ensure!(matches!(pool.open(first.shadow), Err(PoolError::UnknownLun(_))), "a prepared shadow can be opened");

    let unknown = pool.prepare(set, &[member(LunId::random())]).await;
    ensure!(matches!(unknown, Err(PoolError::UnknownLun(_))), "an unknown LUN was prepared: {unknown:?}");
    let taken = ShadowMember { source: one.id(), shadow: two.id() };
    ensure!(matches!(pool.prepare(set, &[taken]).await, Err(PoolError::LunExists(_))), "a taken id was promised");
    let promised = ShadowMember { source: two.id(), shadow: first.shadow };
    let twice = pool.prepare(random_set(), &[promised]).await;
    ensure!(matches!(twice, Err(PoolError::LunExists(_))), "an id was promised twice: {twice:?}");
    let created = pool.create(first.shadow, SMALL).await;
    ensure!(matches!(created, Err(PoolError::LunExists(_))), "a promised id was given away: {created:?}");

    ensure!(pool.abort(set)? == Outcome::Done, "the set was not aborted");
    ensure!(pool.abort(set)? == Outcome::AlreadySo, "the set was aborted twice");
    let committed = pool.commit(set, COMMIT_AT_MOST).await;
    ensure!(matches!(committed, Err(CommitError::UnknownSet(of)) if of == set), "an aborted set: {committed:?}");
    ensure!(pool.luns().len() == 2, "an aborted set left something");

    pool.prepare(set, &[first, second]).await?;
    let pool = {
        drop((one, two));
        subject.reopen(pool).await?
    };
    let committed = pool.commit(set, COMMIT_AT_MOST).await;
    ensure!(matches!(committed, Err(CommitError::UnknownSet(_))), "a preparation survived: {committed:?}");
    Ok(())
}

/// A commit captures all members or none, and its repetition changes nothing, also after the pool was opened again.
///
/// # Errors
/// The promise that was broken.
pub async fn commits_can_be_repeated(subject: &impl Subject) -> Result<()> {
    let pool = subject.make().await?;
    let (one, two) = (small_lun(&pool).await?, small_lun(&pool).await?);
    one.write(Lba(0), blocks(1, 0, SMALL.0)).await?;
    let set = random_set();
    let member = |source: LunId| ShadowMember { source, shadow: LunId::random() };
    let members = [member(one.id()), member(two.id()), member(one.id())];
    pool.prepare(set, &members).await?;
    ensure!(pool.commit(set, COMMIT_AT_MOST).await? == Outcome::Done, "the commit did nothing");
    one.write(Lba(0), blocks(2, 0, SMALL.0)).await?;
    ensure!(pool.commit(set, COMMIT_AT_MOST).await? == Outcome::AlreadySo, "the set was committed twice");
    ensure!(matches!(pool.abort(set), Err(PoolError::SetCommitted(of)) if of == set), "a committed set was aborted");
    let late = pool.prepare(set, &[member(two.id())]).await;
    ensure!(matches!(late, Err(PoolError::SetCommitted(_))), "a committed set grew: {late:?}");
    ensure!(pool.luns().len() == 5, "there are {:?}", pool.luns());
    one.flush().await?;

    let incomplete = random_set();
    pool.prepare(incomplete, &[member(one.id()), member(two.id())]).await?;
    pool.delete(two.id()).await?;
    let refused = pool.commit(incomplete, COMMIT_AT_MOST).await;
    ensure!(matches!(refused, Err(CommitError::UnknownLun(of)) if of == two.id()), "{refused:?}");
    ensure!(pool.luns().len() == 4, "a set that was not committed left something: {:?}", pool.luns());

    let id = one.id();
    drop((one, two));
    let pool = subject.reopen(pool).await?;
    ensure!(pool.commit(set, COMMIT_AT_MOST).await? == Outcome::AlreadySo, "the set was forgotten");
    for (member, tag) in [(members[0], Some(1)), (members[1], None), (members[2], Some(1))] {
        let expected = tag.map_or_else(|| vec![0; 2051 * 512], |tag| blocks(tag, 0, SMALL.0).to_vec());
        expect(&pool.open(member.shadow)?, &expected, "a member of the set").await?;
    }
    expect(&pool.open(id)?, &blocks(2, 0, SMALL.0), "the source").await
}
