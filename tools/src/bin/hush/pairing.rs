//! `hush pair`, `hush unpair`, `hush peers`, and who may send here.

use anyhow::{Context as _, Result, bail};
use hushwire::Error;
use hushwire::client::{Client, PairingOptions, PendingPair};
use hushwire::keystore::{Grant, Keystore, Peer};
use hushwire::pairing::spoken::SpokenCode;
use hushwire::pairing::{Carrier, Fingerprint, Link, Medium, Qr, Spoken, Verified};
use hushwire_tools::days::date;
use hushwire_wire::code::PairCode;
use hushwire_wire::id::DeviceId;
use hushwire_wire::text;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::Pair;
use crate::commands::{connect, options, short};
use crate::home::{self, Home};
use crate::qr::{self, Format, QrFile};
use crate::terminal::{confirm, note, show, text_or_input};

/// Said wherever a camera stands in for the comparison.
const CAMERA: &str = "Nothing was compared: this is as safe as the QR code was from other eyes. If it was sent, or seen by \
                      anybody else, run `hush unpair` and pair again with the digits.";

/// What the other device has shown or its user has said.
enum Code {
    Link(String),
    Spoken(String),
}

impl Code {
    /// A link has a colon, and is longer than anything one could say.
    fn read(text: String) -> Result<Self> {
        if text.contains(':') || text.len() > 100 {
            return Ok(Self::Link(text));
        }
        SpokenCode::from_text(&text).map_err(Error::from).context(
            "this is neither a link (hushwire:pair:…) nor a spoken code (7-apple-river)",
        )?;
        Ok(Self::Spoken(text))
    }
}

/// Pairs, or is interrupted: then what was written to show the code is removed all the same.
pub(crate) async fn pair(home: &Home, pair: Pair, json: bool) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        paired = pair_with(home, &pair, json) => paired,
        _ = tokio::signal::ctrl_c() => bail!("interrupted: not paired, and the code is void"),
        _ = terminated.recv() => bail!("interrupted: not paired, and the code is void"),
    }
}

async fn pair_with(home: &Home, pair: &Pair, json: bool) -> Result<()> {
    let format = pair.qr.as_deref().map(Format::of).transpose()?;
    let code = match pair.code.as_slice() {
        [] => None,
        [text] => Some(Code::read(text_or_input(text)?)?),
        words => Some(Code::read(words.join(" "))?),
    };
    let keystore = home.open()?;
    let client = match &code {
        Some(Code::Link(link)) => {
            name_is_free(&keystore, pair, PairCode::from_text(link).map_err(Error::from)?.device)?;
            connect(keystore).await?
        }
        Some(Code::Spoken(_)) | None => connect(keystore).await?,
    };
    match code {
        Some(Code::Spoken(_)) if pair.scanned => {
            bail!("a spoken code is not scanned: leave out --scanned")
        }
        Some(Code::Spoken(code)) => {
            let pending = client.join_spoken(&code).await?;
            settle_spoken(&client, pending, pair, json).await?;
        }
        Some(Code::Link(link)) if pair.scanned => {
            let pending = client.join_pairing::<Qr>(&link).await?;
            settle_scanned(&client, pending, pair, json).await?;
        }
        Some(Code::Link(link)) => {
            let pending = client.join_pairing::<Link>(&link).await?;
            settle(&client, pending, pair, json).await?;
        }
        None if pair.spoken => {
            let offer = client.offer_spoken(PairingOptions::default()).await?;
            let (code, minutes) = (offer.code(), offer.expires_in().as_secs().div_ceil(60));
            show(json, &spoken_text(&code, minutes), &json!({ "code": code }))?;
            settle_spoken(&client, offer.wait().await?, pair, json).await?;
        }
        None if pair.scanned => {
            let pending = offer::<Qr>(&client, pair, format, json).await?;
            settle_scanned(&client, pending, pair, json).await?;
        }
        None => {
            let pending = offer::<Link>(&client, pair, format, json).await?;
            settle(&client, pending, pair, json).await?;
        }
    }
    client.close().await;
    Ok(())
}

/// Before anybody has waited for anything.
fn name_is_free(keystore: &Keystore, pair: &Pair, device: DeviceId) -> Result<()> {
    if !pair.name.is_empty() {
        keystore.check_name(&pair.name, &device)?;
    }
    Ok(())
}

/// Shows a link or a picture and waits for the other device; a file with the picture is gone when this returns.
async fn offer<C: Carrier>(
    client: &Client,
    pair: &Pair,
    format: Option<Format>,
    json: bool,
) -> Result<PendingPair<C>> {
    let offer = client.offer_pairing::<C>(PairingOptions::default()).await?;
    let link = offer.link();
    let file = match (&pair.qr, format) {
        (Some(path), Some(format)) => Some(QrFile::create(path, format, &link)?),
        (Some(_) | None, Some(_) | None) => None,
    };
    let minutes = offer.expires_in().as_secs().div_ceil(60);
    let mut text = qr::picture(&link);
    if let Some(path) = &pair.qr {
        text += &format!("\nThe QR code is in {} until the pairing ends.", path.display());
    }
    text += &if pair.scanned {
        format!(
            "\nRead it with the other device's camera within {minutes} minutes:\n\n  hush pair --scanned LINK\n\nShow it to nobody else. Waiting …"
        )
    } else {
        format!(
            "\nOn the other device, within {minutes} minutes:\n\n  hush pair {link}\n\nShow the link to nobody else. Waiting …"
        )
    };
    let path = pair.qr.as_ref().map(|path| path.display().to_string());
    show(json, &text, &json!({ "link": link, "qr": path }))?;
    let met = offer.wait().await;
    drop(file);
    Ok(met?)
}

fn spoken_text(code: &str, minutes: u64) -> String {
    format!(
        "{code}\n\nSay this to the other person, who types within {minutes} minutes:\n\n  hush pair {code}\n\nIt is good for one try. Waiting …"
    )
}

/// Both people compare six digits before anything is stored.
async fn settle(
    client: &Client,
    pending: PendingPair<Link>,
    pair: &Pair,
    json: bool,
) -> Result<()> {
    let (device, sas) = (pending.peer(), pending.sas());
    let name = name_of(&pending, pair, json)?;
    if pair.yes {
        note(json, &format!("the digits are {sas}"));
    } else {
        let question = format!("The digits are {sas}. Does the other device show the same?");
        let value = json!({ "device": device.to_text(), "digits": sas.to_string() });
        if !confirm(json, &question, &value).await? {
            pending.reject()?;
            bail!(
                "not paired with {device}: somebody may have stood between the two; make a new link"
            );
        }
    }
    if pair.one_way {
        pending.confirm_one_way(&name).await?;
    } else {
        pending.confirm(&name).await?;
    }
    paired(client, device, json)
}

async fn settle_scanned(
    client: &Client,
    pending: PendingPair<Qr>,
    pair: &Pair,
    json: bool,
) -> Result<()> {
    let device = pending.peer();
    let name = name_of(&pending, pair, json)?;
    if pair.one_way {
        pending.trust_camera_one_way(&name).await?;
    } else {
        pending.trust_camera(&name).await?;
    }
    note(json, CAMERA);
    paired(client, device, json)
}

async fn settle_spoken(
    client: &Client,
    pending: PendingPair<Spoken>,
    pair: &Pair,
    json: bool,
) -> Result<()> {
    let device = pending.peer();
    let name = name_of(&pending, pair, json)?;
    if pair.one_way {
        pending.confirm_one_way(&name).await?;
    } else {
        pending.confirm(&name).await?;
    }
    paired(client, device, json)
}

/// What to call the other device: as asked for, as before, or by the beginning of its ID.
fn name_of<M: Medium>(pending: &PendingPair<M>, pair: &Pair, json: bool) -> Result<String> {
    let known = pending.known_as();
    if let Some(known) = &known {
        let known = text::plain(known, usize::MAX);
        note(json, &format!("this device is {known} already: its key is replaced"));
    }
    let name = match pair.name.as_str() {
        "" => known.unwrap_or_else(|| short(pending.peer())),
        name => name.to_owned(),
    };
    pending.check_name(&name)?;
    Ok(name)
}

fn paired(client: &Client, device: DeviceId, json: bool) -> Result<()> {
    let peers = client.peers();
    let peer = peers.iter().find(|peer| peer.device == device).context("the peer is gone again")?;
    let name = text::plain(&peer.name, usize::MAX);
    let text = format!(
        "paired with {name}: {device}\n{}",
        match peer.grant {
            Grant::Given => "It may send to this device.".to_owned(),
            Grant::Wanted =>
                "The relay could not be told yet that it may send here: the next command that connects does it."
                    .to_owned(),
            Grant::None | Grant::Withdrawn => format!(
                "It may not send to this device, and has no session with it, until you run: hush grant {name}"
            ),
        }
    );
    let value = json!({
        "paired": device.to_text(),
        "name": name,
        "fingerprint": peer.fingerprint().to_string(),
        "verified": word(peer.verified),
        "may_send": grant_word(peer.grant),
    });
    show(json, &text, &value)
}

/// Removes a peer, and tells the relay, now or later.
pub(crate) async fn unpair(home: &Home, peer: &str, json: bool) -> Result<()> {
    let mut keystore = home.open()?;
    let device = home::peer(&keystore, peer)?;
    let name = keystore.peer(&device).map(|peer| text::plain(peer.name(), usize::MAX));
    let name = name.unwrap_or_default();
    keystore.remove_peer(&device)?;
    let told = match Client::connect(keystore, options(None)).await {
        Ok(client) => {
            let told = client.ungrant(device).await;
            client.close().await;
            told
        }
        Err(error) => Err(error),
    };
    let mut text = format!("{name} is removed: {device}");
    if let Err(why) = &told {
        text += "\nThe relay still lets its cells through to this device, which drops them; the next command that connects \
                 tells it.";
        note(json, &format!("the relay cannot be told now: {why}"));
    }
    let value = json!({ "unpaired": device.to_text(), "name": name, "relay_told": told.is_ok() });
    show(json, &text, &value)
}

/// Lets a peer send to this device, or no longer.
pub(crate) async fn grant(home: &Home, peer: &str, may_send: bool, json: bool) -> Result<()> {
    let keystore = home.open()?;
    let device = home::peer(&keystore, peer)?;
    let name = keystore.peer(&device).map(|peer| text::plain(peer.name(), usize::MAX));
    let name = name.unwrap_or_default();
    let client = connect(keystore).await?;
    let (done, not) = if may_send {
        (client.grant(device).await, "")
    } else {
        (client.ungrant(device).await, " not")
    };
    done?;
    client.close().await;
    let text = format!("{name} may{not} send to this device");
    show(json, &text, &json!({ "peer": device.to_text(), "may_send": may_send }))
}

pub(crate) fn peers(home: &Home, json: bool) -> Result<()> {
    let keystore = home.open()?;
    let (mut entries, mut values) = (Vec::new(), Vec::new());
    for peer in keystore.peers() {
        let name = text::plain(peer.name(), usize::MAX);
        let fingerprint = Fingerprint::of(peer.device());
        entries.push(format!("{name}\n  {fingerprint}\n  {}", history(peer)));
        values.push(json!({
            "device": peer.device().to_text(),
            "name": name,
            "fingerprint": fingerprint.to_string(),
            "verified": word(peer.verified()),
            "verified_at_s": peer.verified_at_s(),
            "may_send": grant_word(peer.grant()),
        }));
    }
    if entries.is_empty() {
        return show(json, "no peers yet: `hush pair` adds one", &json!({ "peers": values }));
    }
    show(json, &entries.join("\n\n"), &json!({ "peers": values }))?;
    note(
        json,
        "\nTo be sure of a peer, compare its line with what `hush id` shows over there: all 13 groups.",
    );
    Ok(())
}

/// How and when a peer was verified last, and what it may do.
pub(crate) fn history(peer: &Peer) -> String {
    let how = match peer.verified() {
        Verified::Sas => "by comparing digits",
        Verified::Camera => "by a camera, nothing was compared",
        Verified::Spoken => "by a spoken code",
    };
    let grant = match peer.grant() {
        Grant::Given => "may send to this device",
        Grant::Wanted => "may send to this device once the relay has been told",
        Grant::Withdrawn => "may not send to this device once the relay has been told",
        Grant::None => "may not send to this device",
    };
    let days = u32::try_from(peer.verified_at_s() / 86_400).unwrap_or_default();
    format!("verified on {} (UTC) {how}; {grant}", date(days))
}

pub(crate) const fn word(verified: Verified) -> &'static str {
    match verified {
        Verified::Sas => "digits",
        Verified::Camera => "camera",
        Verified::Spoken => "spoken",
    }
}

pub(crate) const fn grant_word(grant: Grant) -> &'static str {
    match grant {
        Grant::Given => "yes",
        Grant::Wanted => "wanted",
        Grant::Withdrawn => "withdrawn",
        Grant::None => "no",
    }
}
