// The vSphere simulator of govmomi as a server of its own, with what it lacks for a driver's tests: what is uploaded by a
// lease is kept, machines are exported, calls fail when they are told to, and files want a session.
//
//	vcsim LISTEN CERTIFICATE KEY USER PASSWORD vpx|esx
package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

const tries = 1000

const envelope = `<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope ` +
	`xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" ` +
	`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>%s</soapenv:Body></soapenv:Envelope>`

var (
	method = regexp.MustCompile(`<(?:soapenv:)?Body[^>]*>\s*<(\w+)[^>]*>\s*<_this[^>]*>([^<]+)</_this>`)
	mutex  sync.Mutex
	faults = map[string]string{} // of the next call of this method
	leases int
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Where the file of this name, which is a machine's disk, is.
func find(name string) string {
	for _, ref := range simulator.Map.All("Datastore") {
		root := simulator.Map.Get(ref.Reference()).(*simulator.Datastore).Info.GetDatastoreInfo().Url
		if found, _ := filepath.Glob(filepath.Join(root, "*", name)); len(found) == 1 {
			return found[0]
		}
	}
	return ""
}

func nfc(w http.ResponseWriter, r *http.Request) {
	file := find(path.Base(r.URL.Path))
	if file == "" {
		http.NotFound(w, r)
		return
	}
	if r.Method == http.MethodGet {
		in, err := os.Open(file)
		if err != nil { // it was removed just now
			http.NotFound(w, r)
			return
		}
		defer in.Close()
		check(syscall.Flock(int(in.Fd()), syscall.LOCK_SH)) // who runs the machine may still have it
		http.ServeContent(w, r, file, time.Time{}, in)
		return
	}
	out, err := os.Create(file)
	check(err)
	_, err = io.Copy(out, r.Body)
	check(out.Close())
	if err != nil {
		_ = os.Truncate(file, 0)
	}
}

func export(id string) string {
	vm, ok := simulator.Map.Get(types.ManagedObjectReference{Type: "VirtualMachine", Value: id}).(*simulator.VirtualMachine)
	if !ok || vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff {
		return fault("InvalidPowerState", "<requestedState>poweredOff</requestedState><existingState>poweredOn</existingState>")
	}
	leases++
	lease := &simulator.HttpNfcLease{HttpNfcLease: mo.HttpNfcLease{
		Info: &types.HttpNfcLeaseInfo{Entity: vm.Self, LeaseTimeout: 300}, State: types.HttpNfcLeaseStateReady,
	}}
	lease.Self = types.ManagedObjectReference{Type: "HttpNfcLease", Value: fmt.Sprintf("export-%d", leases)}
	lease.Info.Lease = lease.Self
	for _, device := range vm.Config.Hardware.Device {
		disk, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		var file object.DatastorePath
		file.FromString(disk.Backing.(types.BaseVirtualDeviceFileBackingInfo).GetVirtualDeviceFileBackingInfo().FileName)
		name := path.Base(file.Path)
		lease.Info.DeviceUrl = append(lease.Info.DeviceUrl, types.HttpNfcLeaseDeviceUrl{
			Key: "/" + id + "/" + name, Url: "https://*/nfc/" + lease.Self.Value + "/" + url.PathEscape(name),
			Disk: types.NewBool(true), TargetId: name,
		})
	}
	simulator.Map.Put(lease)
	return `<ExportVmResponse xmlns="urn:vim25"><returnval type="HttpNfcLease">` + lease.Self.Value + `</returnval></ExportVmResponse>`
}

func fault(name, content string) string {
	return `<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>` + name + `</faultstring><detail><` + name +
		`Fault xmlns="urn:vim25" xsi:type="` + name + `">` + content + `</` + name + `Fault></detail></soapenv:Fault>`
}

// A task that has come to this end, as what the method answers.
func failed(call, name string) string {
	kind, _ := types.TypeFunc()(name)
	why := reflect.New(kind).Interface().(types.BaseMethodFault)
	task := simulator.CreateTask(simulator.Map.Any("Folder"), call,
		func(*simulator.Task) (types.AnyType, types.BaseMethodFault) { return nil, why })
	return `<` + call + `Response xmlns="urn:vim25"><returnval type="Task">` + task.Run().Value + `</returnval></` + call + `Response>`
}

// Whether the call is to be made once more: a search stumbles over a machine that another call is just making, and that
// has no name yet.
func stumbles(w http.ResponseWriter, r *http.Request, body []byte, next http.Handler, again bool) (stumbled bool) {
	if again && bytes.Contains(body, []byte("<FindChild")) {
		defer func() { stumbled = recover() != nil }()
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	next.ServeHTTP(w, r)
	return false
}

func sdk(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	answer := ""
	if call := method.FindSubmatch(body); call != nil {
		name := string(call[1])
		mutex.Lock()
		if why := faults[name]; why != "" {
			delete(faults, name)
			if answer = fault(why, ""); strings.HasSuffix(name, "_Task") && why != "NoPermission" {
				answer = failed(name, why)
			}
		} else if name == "ExportVm" {
			answer = export(string(call[2]))
		}
		mutex.Unlock()
	}
	if answer == "" {
		for try := 0; stumbles(w, r, body, next, try < tries); try++ {
			time.Sleep(time.Millisecond)
		}
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	if strings.HasPrefix(answer, "<soapenv:Fault") {
		w.WriteHeader(http.StatusInternalServerError)
	}
	fmt.Fprintf(w, envelope, answer)
}

func main() {
	model := simulator.VPX()
	if os.Args[6] == "esx" {
		model = simulator.ESX()
	}
	model.Machine = 1
	check(model.Create())
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(os.Args[4], os.Args[5])}
	inner := model.Service.NewServer()
	defer inner.Close()
	mux := model.Service.ServeMux
	pair, err := tls.LoadX509KeyPair(os.Args[2], os.Args[3])
	check(err)
	listener, err := net.Listen("tcp", os.Args[1])
	check(err)
	for _, ref := range simulator.Map.All("Datastore") {
		fmt.Println("datastore", simulator.Map.Get(ref.Reference()).(*simulator.Datastore).Info.GetDatastoreInfo().Url)
	}
	fmt.Println("ready", listener.Addr())
	go func() { // it ends with who started it, and leaves no datastore
		_, _ = io.Copy(io.Discard, os.Stdin)
		model.Remove()
		os.Exit(0)
	}()
	check(http.Serve(tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}}),
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := r.Cookie("vmware_soap_session")
			switch parts := strings.Split(r.URL.Path, "/"); {
			case parts[1] == "nfc":
				nfc(w, r)
			case parts[1] == "fault": // /fault/METHOD/FAULT
				mutex.Lock()
				faults[parts[2]] = parts[3]
				mutex.Unlock()
			case parts[1] == "folder" && err != nil:
				w.WriteHeader(http.StatusUnauthorized)
			case r.URL.Path == "/sdk" && r.Method == http.MethodPost:
				sdk(w, r, mux)
			default:
				mux.ServeHTTP(w, r)
			}
		})))
}
