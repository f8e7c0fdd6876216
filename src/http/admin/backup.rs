//! Everything that the gateway knows, as one file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, header};

use crate::backup::{self, BackupError, Places};
use crate::http::caller::Admin;
use crate::http::error::ApiError;
use crate::http::state::Shared;
use crate::http::stream as http_stream;
use crate::system::offload;

/// Longest time that a backup is written before the first byte of it is sent.
const BACKUP_TIME: Duration = Duration::from_secs(10 * 60);
const PIECE: usize = 1 << 18;
/// How many entries of the plugin directory are not in the backup; `left_out` in its manifest has their names.
const LEFT_OUT: HeaderName = HeaderName::from_static("x-mlx-gateway-left-out");

/// Back everything up: the store, the sessions' secret, the configuration file and the plugins, as a zip
/// file. It holds secrets. `x-mlx-gateway-left-out` says how many links and special files of the plugin directory are not
/// in it; `left_out` in its `manifest.json` names them.
#[utoipa::path(
    get, path = "/backup", tag = "system",
    responses((status = 200, description = "A zip file for `mlx-gateway restore`", content_type = "application/zip", body = String))
)]
pub async fn download(State(gateway): State<Shared>, Admin(caller): Admin) -> Result<Response, ApiError> {
    let about = &gateway.about;
    let places = Places {
        data_dir: about.data_dir.clone(),
        config: about.config_file.clone(),
        plugins: gateway.tools.dir().to_owned(),
    };
    let failed = |error: BackupError| ApiError::internal("the backup", &error);
    let io = |error: std::io::Error| ApiError::internal("the backup", &error);
    // Beside the store, where there is room for it, and gone with the answer.
    let folder = backup::workspace(&about.data_dir).map_err(failed)?;
    let database = folder.path().join(backup::DATABASE);
    gateway.store.copy_to(database.clone()).await?;
    let now = gateway.proxy.clock.unix_ms();
    let writing = move || {
        let mut file = tempfile::tempfile_in(folder.path())
            .map_err(|source| BackupError::Io { path: folder.path().to_owned(), source })?;
        let manifest = backup::write(&mut file, &places, &database, now)?;
        Ok((file, manifest.left_out.len()))
    };
    // Plugins and the configuration may lie on other disks than the store.
    let (file, left_out) =
        offload::run(&about.data_dir.join("backup"), BACKUP_TIME, writing).await?.map_err(failed)?;
    let name = "attachment; filename=\"mlx-gateway-backup.zip\"";
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/zip")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static(name)),
        (LEFT_OUT, HeaderValue::from(left_out)),
    ];
    Ok((headers, http_stream::file(&caller, pieces(file).map_err(io)?)).into_response())
}

/// A file from its beginning, piece by piece.
fn pieces(
    mut file: File,
) -> std::io::Result<impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static> {
    file.seek(SeekFrom::Start(0))?;
    Ok(stream::try_unfold(file, |mut file| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE];
            let read = file.read(&mut piece)?;
            piece.truncate(read);
            Ok::<_, std::io::Error>((piece, file))
        });
        let (piece, file) = read.await.map_err(std::io::Error::other)??;
        Ok(if piece.is_empty() { None } else { Some((Bytes::from(piece), file)) })
    }))
}
