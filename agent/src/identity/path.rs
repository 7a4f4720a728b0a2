//! Reads from a cgroup's path which pod and container it is: the shapes that kubelets and engines use.

/// What a path says. Names come from the registry, by these ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The pod's uid, as Kubernetes writes it; 32 digits without dashes for static pods.
    pub(crate) pod_uid: Option<String>,
    /// The container's id.
    pub(crate) container_id: Option<String>,
    /// The cgroup is a container's inner one: its numbers are those of the container's own cgroup.
    pub(crate) inner: bool,
}

impl Place {
    /// Whether it is a pod's own cgroup.
    pub(crate) fn is_pod(&self) -> bool {
        self.pod_uid.is_some() && self.container_id.is_none()
    }
}

/// Before the id of a container in a systemd scope's name.
const SCOPES: [&str; 5] = ["cri-containerd-", "crio-", "docker-", "libpod-", "containerd-"];

/// Reads `path`, a cgroup's path like `/kubepods/burstable/pod<uid>/<id>`.
pub(crate) fn place(path: &str) -> Place {
    let mut place = Place::default();
    let mut below_kubepods = false;
    let mut components = path.split('/').filter(|component| !component.is_empty()).peekable();
    while let Some(component) = components.next() {
        if place.container_id.is_some() {
            // crun puts the processes one level deeper; anything else in there is the container's own.
            let inner = component == "container" && components.peek().is_none();
            return if inner { Place { inner, ..place } } else { Place::default() };
        }
        if let Some(uid) = pod_uid(component, below_kubepods) {
            place.pod_uid = Some(uid);
            // The mixed form has both in one component: `….slice:cri-containerd:<id>`.
            place.container_id = component.rsplit_once(':').and_then(|(_, id)| hex_id(id));
        } else if let Some(id) = container_id(component) {
            place.container_id = Some(id);
        } else if place.pod_uid.is_some() {
            // Below a pod, and not a container of it: a helper's scope.
            return Place::default();
        }
        below_kubepods |= component.contains("kubepods");
    }
    if place == Place::default() {
        place.container_id = containerd_id(path);
    }
    place
}

/// `pod<uid>` below kubepods, or `…kubepods…-pod<uid with _>.slice`, perhaps with `:engine:<id>` behind.
fn pod_uid(component: &str, below_kubepods: bool) -> Option<String> {
    if let Some(uid) = component.strip_prefix("pod").filter(|_| below_kubepods) {
        return uid_of(uid);
    }
    let (_, tail) = component.split_once("kubepods")?;
    let (_, uid) = tail.rsplit_once("-pod")?;
    uid_of(uid.split(':').next()?.strip_suffix(".slice")?)
}

/// A uid with dashes, with underscores in their place, or 32 digits; nothing else.
fn uid_of(text: &str) -> Option<String> {
    let uid = text.replace('_', "-");
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = uid.bytes().filter(|byte| *byte == b'-').count();
    let is_uid = digits == 32 && digits + dashes == uid.len() && (dashes == 0 || dashes == 4);
    is_uid.then_some(uid)
}

/// `<64 hex>` or `<engine>-<64 hex>.scope`.
fn container_id(component: &str) -> Option<String> {
    if let Some(scope) = component.strip_suffix(".scope") {
        return SCOPES.iter().find_map(|engine| hex_id(scope.strip_prefix(engine)?));
    }
    hex_id(component)
}

fn hex_id(text: &str) -> Option<String> {
    (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_owned())
}

/// containerd's own `/<namespace>/<id>`: ids there may be any names, so that only namespaces that
/// engines use are known.
fn containerd_id(path: &str) -> Option<String> {
    let (namespace, id) = path.strip_prefix('/')?.split_once('/')?;
    let known = matches!(namespace, "default" | "k8s.io" | "moby" | "nerdctl" | "buildkit");
    (known && !id.is_empty() && !id.contains('/')).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f0a8b1e2c3d4e5f60718293a4b5c6d7e8f9010203040506070809a0b0c0d0e0";
    const UID: &str = "7b2d6e1c-93ab-4f0e-8d55-0c1f2a3b4c5d";
    const UID_: &str = "7b2d6e1c_93ab_4f0e_8d55_0c1f2a3b4c5d";
    const STATIC: &str = "0123456789abcdef0123456789abcdef";

    fn check(path: &str, uid: Option<&str>, id: Option<&str>) {
        let expected =
            Place { pod_uid: uid.map(str::to_owned), container_id: id.map(str::to_owned), inner: false };
        assert_eq!(place(path), expected, "{path}");
    }

    #[test]
    fn every_shape_of_path_is_read() {
        let (u, c) = (Some("U"), Some("C"));
        let table = [
            ("/kubepods/podU/C", u, c),
            ("/kubepods/burstable/podU/C", u, c),
            ("/kubepods/besteffort/podU/C", u, c),
            ("/kubepods/burstable/podU", u, None),
            ("/kubepods/podS", Some("S"), None),
            ("/kubepods/burstable/podS/C", Some("S"), c),
            ("/kubepods.slice/kubepods-podV.slice/cri-containerd-C.scope", u, c),
            ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podV.slice", u, None),
            ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podV.slice/crio-C.scope", u, c),
            ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podV.slice/docker-C.scope", u, c),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podS.slice/cri-containerd-C.scope",
                Some("S"),
                c,
            ),
            ("/system.slice/containerd.service/kubepods-burstable-podV.slice:cri-containerd:C", u, c),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podV.slice/cri-containerd-C.scope",
                u,
                c,
            ),
            ("/kubelet/kubepods/burstable/podU/C", u, c),
            ("/docker/C", None, c),
            ("/system.slice/docker-C.scope", None, c),
            ("/machine.slice/libpod-C.scope", None, c),
            ("/default/redis", None, Some("redis")),
            ("/k8s.io/C", None, c),
        ];
        for (path, uid, id) in table {
            let path = path.replace('C', ID).replace('U', UID).replace('V', UID_).replace('S', STATIC);
            let full = |text: &str| match text {
                "U" => UID.to_owned(),
                "S" => STATIC.to_owned(),
                "C" => ID.to_owned(),
                other => other.to_owned(),
            };
            let (uid, id) = (uid.map(full), id.map(full));
            check(&path, uid.as_deref(), id.as_deref());
        }
    }

    #[test]
    fn what_is_no_container_has_no_identity() {
        for path in [
            "/",
            "/kubepods",
            "/kubepods/burstable",
            "/kubepods.slice/kubepods-burstable.slice",
            "/system.slice/ssh.service",
            "/user.slice/user-1000.slice/session-1.scope",
            "/system.slice/pod-controller.service",
            "/podcast/pod12",
            "/kubepods/podnot-a-uid",
            "/foo/bar",
            "/init.scope",
        ] {
            check(path, None, None);
        }
        let conmon = format!("/kubepods.slice/kubepods-pod{UID_}.slice/crio-conmon-{ID}.scope");
        assert_eq!(place(&conmon), Place::default());
    }

    #[test]
    fn cgroups_inside_a_container_are_its_own_business() {
        let container = format!("/kubepods/pod{UID}/{ID}");
        assert_eq!(place(&format!("{container}/system.slice")), Place::default());
        assert_eq!(place(&format!("{container}/container/x")), Place::default());
        let inner = place(&format!("{container}/container"));
        assert!(inner.inner && inner.container_id.as_deref() == Some(ID));
    }
}
